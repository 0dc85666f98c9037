"""What is written to the cache, and what it costs from gpt-5.6 on: on prices, usage records and rollups."""

import django.db.models.expressions
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

import billing.models.fields
from billing import seeds


def price(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    seeds.price_cache_writes(apps)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0013_blocks_on_advice"),
        ("billing", "0018_reserves"),
    ]

    operations = [
        migrations.AddField(
            model_name="daykeyrollup",
            name="cache_write_tokens",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="daymodelrollup",
            name="cache_write_tokens",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="dayrollup",
            name="cache_write_tokens",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="keyrollup",
            name="cache_write_tokens",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="modelrollup",
            name="cache_write_tokens",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="price",
            name="cache_write_usd_per_million",
            field=billing.models.fields.UsdPerMillionField(
                blank=True,
                decimal_places=6,
                help_text="Of input that is written to the cache. Empty: what input costs.",
                max_digits=18,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="projectrollup",
            name="cache_write_tokens",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="spendrollup",
            name="cache_write_tokens",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="usagerecord",
            name="cache_write_tokens",
            field=models.PositiveBigIntegerField(
                db_default=0,
                default=0,
                help_text="Part of the input tokens: not read from the cache, and written to it.",
            ),
        ),
        migrations.AddField(
            model_name="usagerecord",
            name="cache_write_usd_per_million",
            field=billing.models.fields.UsdPerMillionField(
                blank=True, decimal_places=6, help_text="Empty: what input costs.", max_digits=18, null=True
            ),
        ),
        migrations.AlterField(
            model_name="usagerecord",
            name="input_usd",
            field=billing.models.fields.UsdField(
                decimal_places=12, help_text="Uncached input, with what was written to the cache.", max_digits=24
            ),
        ),
        migrations.AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("cache_write_usd_per_million__isnull", True),
                    ("cache_write_usd_per_million__gte", 0),
                    _connector="OR",
                ),
                name="price_of_cache_writes_is_not_negative",
            ),
        ),
        migrations.AddConstraint(
            model_name="usagerecord",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "cache_write_tokens__lte",
                        django.db.models.expressions.CombinedExpression(
                            models.F("input_tokens"), "-", models.F("cached_input_tokens")
                        ),
                    )
                ),
                name="written_tokens_within_uncached_input",
            ),
        ),
        migrations.RunPython(price, migrations.RunPython.noop),
    ]
