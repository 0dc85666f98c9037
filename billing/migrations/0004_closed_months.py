"""Months can be closed, and what is learnt later is booked in the open month."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import billing.models.fields

# Until now money counted when its call was dispatched, always. The trigger would refuse this one change, too.
BOOK = """
ALTER TABLE billing_usagerecord DISABLE TRIGGER usage_records_are_append_only;
UPDATE billing_usagerecord SET booked_at = dispatched_at;
ALTER TABLE billing_usagerecord ENABLE TRIGGER usage_records_are_append_only;
"""
# Once a statement and not once a row: a batch of lines costs one look.
STAY_CLOSED = """
CREATE FUNCTION billing_refuse_closed_month() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN billing_book book USING (organization_id)
               WHERE added.window_start < book.closed_until) THEN
        RAISE EXCEPTION 'the month is closed: late truth is booked in the open month'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER closed_months_take_no_lines AFTER INSERT ON billing_ledgerentry
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_closed_month();
CREATE TRIGGER closed_months_take_no_usage AFTER INSERT ON billing_usagerecord
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_closed_month();
CREATE TRIGGER closed_months_stay_closed BEFORE UPDATE OR DELETE ON billing_closedmonth
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
"""
OPEN = """
DROP TRIGGER closed_months_stay_closed ON billing_closedmonth;
DROP TRIGGER closed_months_take_no_usage ON billing_usagerecord;
DROP TRIGGER closed_months_take_no_lines ON billing_ledgerentry;
DROP FUNCTION billing_refuse_closed_month();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_seed_tiers_and_rate_limits"),
        ("billing", "0003_ledger_is_append_only"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ClosedMonth",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("lines", models.PositiveBigIntegerField(help_text="Ledger entries of the month.")),
                (
                    "spent_usd",
                    billing.models.fields.UsdField(
                        decimal_places=12, help_text="The sum of what they spent, corrections included.", max_digits=24
                    ),
                ),
                (
                    "held_usd",
                    billing.models.fields.UsdField(
                        decimal_places=12,
                        help_text="Still held by calls of the month when it was closed.",
                        max_digits=24,
                    ),
                ),
                (
                    "seal",
                    models.CharField(
                        help_text="Hash over the seals of its lines and of the month before it.", max_length=64
                    ),
                ),
                ("closed_at", models.DateTimeField()),
            ],
            options={
                "ordering": ("-starts_at", "organization"),
            },
        ),
        migrations.RemoveIndex(
            model_name="usagerecord",
            name="billing_usa_project_6a232d_idx",
        ),
        migrations.RemoveIndex(
            model_name="usagerecord",
            name="billing_usa_organiz_75a63f_idx",
        ),
        migrations.AddField(
            model_name="book",
            name="closed_until",
            field=models.DateTimeField(
                blank=True, help_text="The months before this instant are closed. Empty: none is.", null=True
            ),
        ),
        migrations.AddField(
            model_name="ledgerentry",
            name="corrects",
            field=models.DateTimeField(
                blank=True, help_text="The month that this late truth is about, where that one was closed.", null=True
            ),
        ),
        migrations.AddField(
            model_name="usagerecord",
            name="booked_at",
            field=models.DateTimeField(
                help_text="When its money counts: at its dispatch, or when it was learnt, where that month was closed.",
                null=True,
            ),
        ),
        migrations.RunSQL(BOOK, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="usagerecord",
            name="booked_at",
            field=models.DateTimeField(
                help_text="When its money counts: at its dispatch, or when it was learnt, where that month was closed."
            ),
        ),
        migrations.AlterField(
            model_name="spendrollup",
            name="day",
            field=models.DateField(help_text="The UTC day on which the calls were booked."),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(fields=["project", "-booked_at"], name="billing_usa_project_6689ff_idx"),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(fields=["organization", "-booked_at"], name="billing_usa_organiz_adcabd_idx"),
        ),
        migrations.AddField(
            model_name="closedmonth",
            name="closed_by",
            field=models.ForeignKey(
                blank=True,
                help_text="Empty: closed by itself, some days after its end.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="closedmonth",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="closed_months", to="accounts.organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="closedmonth",
            constraint=models.UniqueConstraint(fields=("organization", "starts_at"), name="month_is_closed_once"),
        ),
        migrations.AddConstraint(
            model_name="closedmonth",
            constraint=models.CheckConstraint(
                condition=models.Q(("ends_at__gt", models.F("starts_at"))), name="closed_month_has_length"
            ),
        ),
        migrations.RunSQL(STAY_CLOSED, OPEN),
    ]
