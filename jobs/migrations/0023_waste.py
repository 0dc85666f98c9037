"""What the waste report needs: who read what, what was refused, how prompts begin; and the reports themselves."""

from datetime import UTC, datetime

import django.db.models.deletion
from django.db import migrations, models

import billing.models.fields

# Of what is there already nobody knows whether it was read. A constant default is given to all rows without touching
# one; it is taken away again, so that new rows have none.
NOT_KNOWN = datetime(1970, 1, 1, tzinfo=UTC)
READ_AT = {
    "job": "When its answer was first handed out to anybody.",
    "file": "When its content was first handed out.",
}


def _read_at(help_text: str, **more: object) -> models.DateTimeField:
    return models.DateTimeField(blank=True, editable=False, help_text=help_text, null=True, **more)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0012_may_batch_at_provider"),
        ("jobs", "0022_learning"),
    ]

    operations = [
        *(migrations.AddField(name, "read_at", _read_at(text, db_default=NOT_KNOWN)) for name, text in READ_AT.items()),
        *(migrations.AlterField(name, "read_at", _read_at(text)) for name, text in READ_AT.items()),
        migrations.AddField(
            "job",
            "is_refused",
            models.BooleanField(
                db_default=False,
                default=False,
                help_text="Paid for, and the model declined to answer, or a filter cut it off.",
            ),
        ),
        migrations.AddField(
            "job",
            "prompt_prefix",
            models.UUIDField(
                blank=True,
                editable=False,
                help_text="Keyed hash of the prompt's first 1,024 tokens; empty where it has fewer.",
                null=True,
            ),
        ),
        migrations.CreateModel(
            name="WasteReport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField(help_text="The first of it, UTC.")),
                (
                    "made_at",
                    models.DateTimeField(
                        blank=True, help_text="Empty: it is being made for the first time.", null=True
                    ),
                ),
                ("calls", models.PositiveBigIntegerField(default=0)),
                (
                    "ledger_usd",
                    billing.models.fields.UsdField(
                        decimal_places=12,
                        default=0,
                        help_text="The sum of the project's ledger entries of the month.",
                        max_digits=24,
                    ),
                ),
                (
                    "corrections_usd",
                    billing.models.fields.UsdField(
                        decimal_places=12,
                        default=0,
                        help_text="Part of it that was booked as corrections.",
                        max_digits=24,
                    ),
                ),
                ("useful_usd", billing.models.fields.UsdField(decimal_places=12, default=0, max_digits=24)),
                (
                    "categories",
                    models.JSONField(blank=True, default=dict, help_text="Dollars and jobs of each category."),
                ),
                (
                    "switches",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="Which models could be replaced by which: calls and dollars of each pair.",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.organization"
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="waste_reports",
                        to="accounts.project",
                    ),
                ),
            ],
            options={
                "ordering": ("-month", "project"),
                "constraints": [models.UniqueConstraint(fields=("project", "month"), name="one_waste_report_a_month")],
            },
        ),
        migrations.CreateModel(
            name="WasteLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "category",
                    models.CharField(
                        choices=[
                            ("retry", "Paid beside the answer"),
                            ("empty", "Paid but empty"),
                            ("refused", "Refused by the model"),
                            ("unread", "Never read"),
                            ("long", "Longer than usual"),
                            ("cache_miss", "Not from the cache"),
                            ("dear_model", "A cheaper model would do"),
                        ],
                        max_length=12,
                    ),
                ),
                ("usd", billing.models.fields.UsdField(decimal_places=12, max_digits=24)),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="waste_lines", to="jobs.job"
                    ),
                ),
                (
                    "report",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="lines", to="jobs.wastereport"
                    ),
                ),
            ],
            options={
                "ordering": ("report", "category", "-usd"),
                "constraints": [
                    models.UniqueConstraint(fields=("report", "category", "job"), name="one_waste_line_a_job"),
                    models.CheckConstraint(condition=models.Q(("usd__gt", 0)), name="waste_is_above_nothing"),
                ],
            },
        ),
    ]
