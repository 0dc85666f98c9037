import django.db.models.deletion
from django.db import migrations, models

import billing.models.fields


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0012_may_batch_at_provider"),
        ("billing", "0016_day_rollups_by_model_and_key"),
    ]

    operations = [
        migrations.CreateModel(
            name="HourRollup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.DateTimeField(help_text="Its beginning.")),
                ("team_id", models.UUIDField(blank=True, null=True)),
                ("member_id", models.BigIntegerField(blank=True, null=True)),
                ("api_key_id", models.UUIDField(blank=True, null=True)),
                ("model", models.CharField(max_length=100)),
                ("calls", models.PositiveBigIntegerField()),
                ("input_tokens", models.PositiveBigIntegerField()),
                ("output_tokens", models.PositiveBigIntegerField()),
                ("reasoning_tokens", models.PositiveBigIntegerField()),
                ("total_usd", billing.models.fields.UsdField(decimal_places=12, max_digits=24)),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.organization",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.project",
                    ),
                ),
            ],
            options={
                "ordering": ("-hour", "organization", "project"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "hour", "project", "team_id", "member_id", "api_key_id", "model"),
                        name="one_rollup_per_hour_and_owner",
                        nulls_distinct=False,
                    )
                ],
            },
        ),
    ]
