"""The audit trail is sealed like the ledger, append-only by triggers and by rights, and outlives what it names."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from accounts.audit_chain import GENESIS, NO_ORGANIZATION, Line, seal


def seal_what_is_there(apps, schema_editor):
    """Entries that were written before they were sealed, in the order in which they were."""
    entries, trails = apps.get_model("accounts", "AuditEntry"), apps.get_model("accounts", "AuditTrail")
    heads = {}
    for entry in entries.objects.order_by("at", "id"):
        trail = entry.organization_id or NO_ORGANIZATION
        sequence, previous = heads.get(trail, (0, GENESIS))
        entry.sequence = sequence + 1
        said = {name: getattr(entry, name) for name in Line.__slots__ if name not in ("trail", "actor", "api_key")}
        line = Line(trail=trail, actor=entry.actor_id, api_key=entry.api_key_id, **said)
        entry.seal = seal(line, previous)
        entry.save(update_fields=["sequence", "seal"])
        heads[trail] = (entry.sequence, entry.seal)
    for trail, (sequence, last) in heads.items():
        trails.objects.create(pk=trail, head_sequence=sequence, head_seal=last)


GUARD = """
CREATE FUNCTION accounts_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER audit_entries_are_append_only BEFORE UPDATE OR DELETE ON accounts_auditentry
    FOR EACH ROW EXECUTE FUNCTION accounts_refuse_change();
CREATE TRIGGER audit_entries_are_never_emptied BEFORE TRUNCATE ON accounts_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_refuse_change();
CREATE TRIGGER audit_trails_are_kept BEFORE DELETE ON accounts_audittrail
    FOR EACH ROW EXECUTE FUNCTION accounts_refuse_change();
CREATE TRIGGER audit_trails_are_never_emptied BEFORE TRUNCATE ON accounts_audittrail
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_refuse_change();
DO $$
DECLARE kept record;
BEGIN
    FOR kept IN SELECT relname, relowner::regrole AS owner FROM pg_class
                WHERE relname IN ('accounts_auditentry', 'accounts_audittrail')
                AND relnamespace = current_schema()::regnamespace LOOP
        EXECUTE format('REVOKE DELETE, TRUNCATE ON %I FROM PUBLIC, %s', kept.relname, kept.owner);
        IF kept.relname = 'accounts_auditentry' THEN
            EXECUTE format('REVOKE UPDATE ON %I FROM PUBLIC, %s', kept.relname, kept.owner);
        END IF;
    END LOOP;
END $$;
"""
UNGUARD = """
DO $$
DECLARE kept record;
BEGIN
    FOR kept IN SELECT relname, relowner::regrole AS owner FROM pg_class
                WHERE relname IN ('accounts_auditentry', 'accounts_audittrail')
                AND relnamespace = current_schema()::regnamespace LOOP
        EXECUTE format('GRANT UPDATE, DELETE, TRUNCATE ON %I TO %s', kept.relname, kept.owner);
    END LOOP;
END $$;
DROP TRIGGER audit_trails_are_never_emptied ON accounts_audittrail;
DROP TRIGGER audit_trails_are_kept ON accounts_audittrail;
DROP TRIGGER audit_entries_are_never_emptied ON accounts_auditentry;
DROP TRIGGER audit_entries_are_append_only ON accounts_auditentry;
DROP FUNCTION accounts_refuse_change();
"""


def _named(model):
    return models.ForeignKey(
        db_constraint=False,
        null=True,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name="+",
        to=model,
    )


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_access_and_audit")]
    operations = [
        migrations.CreateModel(
            name="AuditTrail",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        editable=False,
                        help_text="The organization's id; all zero for none.",
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("head_sequence", models.BigIntegerField(default=0, help_text="How many entries it has.")),
                (
                    "head_seal",
                    models.CharField(default=GENESIS, help_text="The seal of its last entry.", max_length=64),
                ),
                ("verified_at", models.DateTimeField(blank=True, null=True)),
                (
                    "verified_entries",
                    models.BigIntegerField(blank=True, help_text="How many it had then.", null=True),
                ),
                (
                    "break_found",
                    models.CharField(
                        blank=True, help_text="The first difference; empty: it is intact.", max_length=300
                    ),
                ),
            ],
            options={"ordering": ("id",)},
        ),
        migrations.AlterField("auditentry", "organization", _named("accounts.organization")),
        migrations.AlterField("auditentry", "actor", _named(settings.AUTH_USER_MODEL)),
        migrations.AlterField("auditentry", "api_key", _named("accounts.apikey")),
        migrations.AddField(
            "auditentry",
            "sequence",
            models.BigIntegerField(default=0, help_text="Its place in the trail of its organization, from 1."),
            preserve_default=False,
        ),
        migrations.AddField(
            "auditentry",
            "seal",
            models.CharField(
                default="", help_text="Hash over what it says and over the seal before it.", max_length=64
            ),
            preserve_default=False,
        ),
        migrations.RunPython(seal_what_is_there, migrations.RunPython.noop),
        migrations.AddConstraint(
            "auditentry",
            models.UniqueConstraint(
                fields=("organization", "sequence"), name="one_audit_entry_per_place", nulls_distinct=False
            ),
        ),
        migrations.AddIndex("auditentry", models.Index(fields=["-at", "-id"], name="audit_entries_newest_first")),
        migrations.RunSQL(GUARD, UNGUARD),
    ]
