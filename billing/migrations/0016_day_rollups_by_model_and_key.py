"""Rollups by day and model and by day and key: the dashboard's bars read tens of thousands of rows less."""

import django.db.models.deletion
from django.db import migrations, models

import billing.models.fields

TOTALS = (
    *("calls", "empty_calls", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens"),
    *("input_usd", "cached_input_usd", "output_usd", "reasoning_usd", "total_usd", "empty_usd"),
)
OWNERS = {
    "billing_daymodelrollup": "organization_id, project_id, team_id, model, service_tier",
    "billing_daykeyrollup": "organization_id, project_id, team_id, member_id, api_key_id",
}
# They start with what the finest one has.
FILL = [
    f"INSERT INTO {table} (day, {owner}, {', '.join(TOTALS)}) SELECT day, {owner}, "  # noqa: S608
    f"{', '.join(f'sum({name})' for name in TOTALS)} FROM billing_spendrollup GROUP BY day, {owner}"
    for table, owner in OWNERS.items()
]


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0011_retention_and_throttles"),
        ("billing", "0015_review_notes_stay"),
    ]

    operations = [
        migrations.CreateModel(
            name="DayKeyRollup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "day",
                    models.DateField(
                        help_text="UTC. The day on which the calls were booked, or the first of its month."
                    ),
                ),
                ("team_id", models.UUIDField(blank=True, null=True)),
                ("calls", models.PositiveBigIntegerField()),
                ("empty_calls", models.PositiveBigIntegerField()),
                ("input_tokens", models.PositiveBigIntegerField()),
                ("cached_input_tokens", models.PositiveBigIntegerField()),
                ("output_tokens", models.PositiveBigIntegerField()),
                ("reasoning_tokens", models.PositiveBigIntegerField()),
                ("input_usd", billing.models.fields.UsdField(decimal_places=12, max_digits=24)),
                ("cached_input_usd", billing.models.fields.UsdField(decimal_places=12, max_digits=24)),
                ("output_usd", billing.models.fields.UsdField(decimal_places=12, max_digits=24)),
                ("reasoning_usd", billing.models.fields.UsdField(decimal_places=12, max_digits=24)),
                ("total_usd", billing.models.fields.UsdField(decimal_places=12, max_digits=24)),
                (
                    "empty_usd",
                    billing.models.fields.UsdField(
                        decimal_places=12, help_text="Part of the total that bought no visible answer.", max_digits=24
                    ),
                ),
                ("member_id", models.BigIntegerField(blank=True, null=True)),
                ("api_key_id", models.UUIDField(blank=True, null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.organization",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.project",
                    ),
                ),
            ],
            options={
                "ordering": ("-day", "organization", "project"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "day", "project", "team_id", "member_id", "api_key_id"),
                        name="one_rollup_per_day_and_key",
                        nulls_distinct=False,
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="DayModelRollup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "day",
                    models.DateField(
                        help_text="UTC. The day on which the calls were booked, or the first of its month."
                    ),
                ),
                ("team_id", models.UUIDField(blank=True, null=True)),
                ("calls", models.PositiveBigIntegerField()),
                ("empty_calls", models.PositiveBigIntegerField()),
                ("input_tokens", models.PositiveBigIntegerField()),
                ("cached_input_tokens", models.PositiveBigIntegerField()),
                ("output_tokens", models.PositiveBigIntegerField()),
                ("reasoning_tokens", models.PositiveBigIntegerField()),
                ("input_usd", billing.models.fields.UsdField(decimal_places=12, max_digits=24)),
                ("cached_input_usd", billing.models.fields.UsdField(decimal_places=12, max_digits=24)),
                ("output_usd", billing.models.fields.UsdField(decimal_places=12, max_digits=24)),
                ("reasoning_usd", billing.models.fields.UsdField(decimal_places=12, max_digits=24)),
                ("total_usd", billing.models.fields.UsdField(decimal_places=12, max_digits=24)),
                (
                    "empty_usd",
                    billing.models.fields.UsdField(
                        decimal_places=12, help_text="Part of the total that bought no visible answer.", max_digits=24
                    ),
                ),
                ("model", models.CharField(max_length=100)),
                (
                    "service_tier",
                    models.CharField(
                        choices=[
                            ("standard", "Standard"),
                            ("batch", "Batch"),
                            ("flex", "Flex"),
                            ("priority", "Priority"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.organization",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.project",
                    ),
                ),
            ],
            options={
                "ordering": ("-day", "organization", "project", "model"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "model", "day", "project", "team_id", "service_tier"),
                        name="one_rollup_per_day_and_model",
                        nulls_distinct=False,
                    )
                ],
            },
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
