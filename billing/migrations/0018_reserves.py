"""Reserves: a measure of quotas with a risk, what of a hold is likely, and what a reserve paid of a call."""

from decimal import Decimal

from django.conf import settings
from django.db import migrations, models

import billing.models.fields


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0013_blocks_on_advice"),
        ("billing", "0017_hours_for_forecasts"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="quota",
            name="risk",
            field=models.DecimalField(
                blank=True,
                decimal_places=4,
                help_text="Of a reserve: the share of calls that may come to more than quotas hold, as 0.01.",
                max_digits=5,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="reservation",
            name="likely_usd",
            field=billing.models.fields.UsdField(
                blank=True,
                decimal_places=12,
                help_text="What quotas hold of it, where a reserve holds the rest. Empty: all of it.",
                max_digits=24,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="usagerecord",
            name="reserve_usd",
            field=billing.models.fields.UsdField(
                db_default=0,
                decimal_places=12,
                default=0,
                help_text="Part of the total that the reserve paid: no quota below it counts that.",
                max_digits=24,
            ),
        ),
        migrations.AlterField(
            model_name="budget",
            name="measure",
            field=models.CharField(
                choices=[
                    ("usd", "US dollars"),
                    ("tokens", "tokens"),
                    ("output_tokens", "output tokens"),
                    ("reasoning_tokens", "reasoning tokens"),
                    ("jobs", "jobs"),
                    ("reserve_usd", "US dollars of reserve"),
                ],
                default="usd",
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="quota",
            name="measure",
            field=models.CharField(
                choices=[
                    ("usd", "US dollars"),
                    ("tokens", "tokens"),
                    ("output_tokens", "output tokens"),
                    ("reasoning_tokens", "reasoning tokens"),
                    ("jobs", "jobs"),
                    ("reserve_usd", "US dollars of reserve"),
                ],
                default="usd",
                max_length=16,
            ),
        ),
        migrations.AddIndex(
            model_name="reservation",
            index=models.Index(
                condition=models.Q(("likely_usd__isnull", False)),
                fields=["organization", "reserved_at"],
                name="reservations_with_a_reserve",
            ),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(
                condition=models.Q(("reserve_usd__gt", 0)),
                fields=["organization", "booked_at"],
                name="records_paid_by_a_reserve",
            ),
        ),
        migrations.AddConstraint(
            model_name="quota",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("is_hard", True),
                        ("measure", "reserve_usd"),
                        ("model", ""),
                        ("scope", "organization"),
                        ("risk__gte", Decimal("0.001")),
                        ("risk__isnull", False),
                        ("risk__lte", Decimal("0.5")),
                    ),
                    models.Q(models.Q(("measure", "reserve_usd"), _negated=True), ("risk__isnull", True)),
                    _connector="OR",
                ),
                name="reserve_is_the_organizations_and_has_a_risk",
            ),
        ),
        migrations.AddConstraint(
            model_name="reservation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("likely_usd__isnull", True),
                    models.Q(("likely_usd__gte", 0), ("likely_usd__lte", models.F("amount_usd"))),
                    _connector="OR",
                ),
                name="likely_is_within_the_bound",
            ),
        ),
        migrations.AddConstraint(
            model_name="usagerecord",
            constraint=models.CheckConstraint(
                condition=models.Q(("reserve_usd__gte", 0), ("reserve_usd__lte", models.F("total_usd"))),
                name="reserve_pays_a_part",
            ),
        ),
    ]
