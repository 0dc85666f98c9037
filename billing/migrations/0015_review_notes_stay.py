"""What somebody said about a line of a month is never changed or deleted, by the database's own refusal."""

from django.db import migrations

REFUSE = """
CREATE TRIGGER review_notes_are_append_only BEFORE UPDATE OR DELETE ON billing_reviewnote
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
"""
ALLOW = "DROP TRIGGER review_notes_are_append_only ON billing_reviewnote;"


class Migration(migrations.Migration):
    dependencies = [("billing", "0014_broken_books")]
    operations = [migrations.RunSQL(REFUSE, ALLOW)]
