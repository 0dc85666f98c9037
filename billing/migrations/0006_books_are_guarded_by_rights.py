"""The book is append-only by two guards that stand alone: triggers, now against TRUNCATE too, and rights.

The rights bind the owner of the tables as well, which is the role that the application connects with; an owner that is
a superuser is bound by the triggers alone.

One column keeps UPDATE: when a row that the books point to is deleted, PostgreSQL looks for lines that do by SELECT ...
FOR KEY SHARE, with the rights of the tables' owner, and that takes UPDATE on a column at least. The surrogate key says
nothing about money, and the trigger refuses its change like any other.
"""

from django.db import migrations

GUARD = """
CREATE TRIGGER ledger_entries_are_never_emptied BEFORE TRUNCATE ON billing_ledgerentry
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER usage_records_are_never_emptied BEFORE TRUNCATE ON billing_usagerecord
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER closed_months_are_never_emptied BEFORE TRUNCATE ON billing_closedmonth
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
DO $$
DECLARE book record;
BEGIN
    FOR book IN SELECT relname, relowner::regrole AS owner FROM pg_class
                WHERE relname IN ('billing_ledgerentry', 'billing_usagerecord', 'billing_closedmonth')
                AND relnamespace = current_schema()::regnamespace LOOP
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM PUBLIC, %s', book.relname, book.owner);
        EXECUTE format('GRANT UPDATE (id) ON %I TO %s', book.relname, book.owner);
    END LOOP;
END $$;
"""
UNGUARD = """
DO $$
DECLARE book record;
BEGIN
    FOR book IN SELECT relname, relowner::regrole AS owner FROM pg_class
                WHERE relname IN ('billing_ledgerentry', 'billing_usagerecord', 'billing_closedmonth')
                AND relnamespace = current_schema()::regnamespace LOOP
        EXECUTE format('REVOKE UPDATE (id) ON %I FROM %s', book.relname, book.owner);
        EXECUTE format('GRANT UPDATE, DELETE, TRUNCATE ON %I TO %s', book.relname, book.owner);
    END LOOP;
END $$;
DROP TRIGGER closed_months_are_never_emptied ON billing_closedmonth;
DROP TRIGGER usage_records_are_never_emptied ON billing_usagerecord;
DROP TRIGGER ledger_entries_are_never_emptied ON billing_ledgerentry;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_rollups_at_every_grain")]
    operations = [migrations.RunSQL(GUARD, UNGUARD)]
