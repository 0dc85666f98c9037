"""Rollups at several grains, and the indexes that pages of growing tables need."""

import django.db.models.deletion
from django.db import migrations, models

import billing.models.fields

TOTALS = (
    *("calls", "empty_calls", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens"),
    *("input_usd", "cached_input_usd", "output_usd", "reasoning_usd", "total_usd", "empty_usd"),
)
MONTH = "date_trunc('month', day::timestamp)::date"
COARSER = {
    "billing_dayrollup": ("day", "organization_id, project_id, team_id"),
    "billing_projectrollup": (MONTH, "organization_id, project_id, team_id"),
    "billing_modelrollup": (MONTH, "organization_id, project_id, team_id, model, service_tier"),
    "billing_keyrollup": (MONTH, "organization_id, project_id, team_id, member_id, api_key_id"),
}
# The coarser rollups start with what the finest one has.
FILL = [
    f"INSERT INTO {table} (day, {owner}, {', '.join(TOTALS)}) SELECT {day}, {owner}, "  # noqa: S608
    f"{', '.join(f'sum({name})' for name in TOTALS)} FROM billing_spendrollup GROUP BY {day}, {owner}"
    for table, (day, owner) in COARSER.items()
]
# The spend pages ask for a month's corrections, which are few among very many lines.
ADJUSTMENTS = (
    "CREATE INDEX billing_adjustments ON billing_ledgerentry (organization_id, window_start) WHERE kind = 'adjust'"
)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_seed_tiers_and_rate_limits"),
        ("billing", "0004_closed_months"),
    ]

    operations = [
        migrations.CreateModel(
            name="DayRollup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
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
                (
                    "day",
                    models.DateField(
                        help_text="UTC. The day on which the calls were booked, or the first of its month."
                    ),
                ),
            ],
            options={
                "ordering": ("-day", "organization", "project"),
            },
        ),
        migrations.CreateModel(
            name="KeyRollup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
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
                (
                    "day",
                    models.DateField(
                        help_text="UTC. The day on which the calls were booked, or the first of its month."
                    ),
                ),
                ("member_id", models.BigIntegerField(blank=True, null=True)),
                ("api_key_id", models.UUIDField(blank=True, null=True)),
            ],
            options={
                "ordering": ("-day", "organization", "project"),
            },
        ),
        migrations.CreateModel(
            name="ModelRollup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
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
                (
                    "day",
                    models.DateField(
                        help_text="UTC. The day on which the calls were booked, or the first of its month."
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
            ],
            options={
                "ordering": ("-day", "organization", "project", "model"),
            },
        ),
        migrations.AlterModelOptions(
            name="spendrollup",
            options={"ordering": ("-day", "-id")},
        ),
        migrations.RemoveConstraint(
            model_name="spendrollup",
            name="one_rollup_per_day_and_owner",
        ),
        migrations.AlterField(
            model_name="spendrollup",
            name="organization",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="accounts.organization",
            ),
        ),
        migrations.AlterField(
            model_name="spendrollup",
            name="project",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.project"
            ),
        ),
        migrations.AddIndex(
            model_name="spendrollup",
            index=models.Index(fields=["-day", "-id"], name="rollups_by_day"),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(fields=["-booked_at"], name="billing_usa_booked__040833_idx"),
        ),
        migrations.AddConstraint(
            model_name="spendrollup",
            constraint=models.UniqueConstraint(
                fields=(
                    "organization",
                    "project",
                    "day",
                    "team_id",
                    "member_id",
                    "api_key_id",
                    "model",
                    "service_tier",
                ),
                name="one_rollup_per_day_and_owner",
                nulls_distinct=False,
            ),
        ),
        migrations.AddField(
            model_name="dayrollup",
            name="organization",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="accounts.organization",
            ),
        ),
        migrations.AddField(
            model_name="dayrollup",
            name="project",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.project"
            ),
        ),
        migrations.AddField(
            model_name="keyrollup",
            name="organization",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="accounts.organization",
            ),
        ),
        migrations.AddField(
            model_name="keyrollup",
            name="project",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.project"
            ),
        ),
        migrations.AddField(
            model_name="modelrollup",
            name="organization",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="accounts.organization",
            ),
        ),
        migrations.AddField(
            model_name="modelrollup",
            name="project",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="accounts.project"
            ),
        ),
        migrations.AddConstraint(
            model_name="dayrollup",
            constraint=models.UniqueConstraint(
                fields=("organization", "day", "project", "team_id"),
                name="one_rollup_per_day_and_project",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="keyrollup",
            constraint=models.UniqueConstraint(
                fields=("organization", "day", "project", "team_id", "member_id", "api_key_id"),
                name="one_rollup_per_month_and_key",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="modelrollup",
            constraint=models.UniqueConstraint(
                fields=("organization", "day", "project", "team_id", "model", "service_tier"),
                name="one_rollup_per_month_and_model",
                nulls_distinct=False,
            ),
        ),
        migrations.CreateModel(
            name="ProjectRollup",
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
                        fields=("organization", "day", "project", "team_id"),
                        name="one_rollup_per_month_and_project",
                        nulls_distinct=False,
                    )
                ],
            },
        ),
        migrations.AlterField(
            model_name="spendrollup",
            name="day",
            field=models.DateField(help_text="UTC. The day on which the calls were booked, or the first of its month."),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.RunSQL(ADJUSTMENTS, "DROP INDEX billing_adjustments"),
    ]
