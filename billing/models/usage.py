"""Tokens and what they cost: the usage record of an attempt."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Cast
from uuid_utils.compat import uuid7

from accounts.models import Organization, Project
from billing.models.budgets import Reservation
from billing.models.fields import UsdField, UsdPerMillionField
from billing.models.prices import Price, ServiceTier
from billing.money import usd
from billing.pricing import PriceTerms, Tokens

# The UTC day on which the money of a record counts, as indexes and queries write it alike.
UTC_DAY = Cast(
    Func(F("booked_at"), template="(%(expressions)s AT TIME ZONE 'UTC')", output_field=models.DateTimeField()),
    models.DateField(),
)


class UsageRecord(models.Model):
    """Tokens, cost and the price used, of one attempt. Written with its settlement and never changed."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    reservation = models.OneToOneField(Reservation, on_delete=models.PROTECT, related_name="usage_record")
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="usage_records")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="usage_records")
    team_id = models.UUIDField(null=True, blank=True)
    member_id = models.BigIntegerField(null=True, blank=True)
    api_key_id = models.UUIDField(null=True, blank=True)
    model = models.CharField(max_length=100)
    snapshot = models.CharField(max_length=100, help_text="The model that the provider said answered.")
    service_tier = models.CharField(max_length=10, choices=ServiceTier.choices)
    input_tokens = models.PositiveBigIntegerField()
    cached_input_tokens = models.PositiveBigIntegerField(help_text="Part of the input tokens.")
    output_tokens = models.PositiveBigIntegerField()
    reasoning_tokens = models.PositiveBigIntegerField(help_text="Part of the output tokens, and priced once with them.")
    cache_write_tokens = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="Part of the input tokens: not read from the cache, and written to it."
    )
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="+")
    input_usd_per_million = UsdPerMillionField()
    cached_input_usd_per_million = UsdPerMillionField()
    output_usd_per_million = UsdPerMillionField()
    cache_write_usd_per_million = UsdPerMillionField(null=True, blank=True, help_text="Empty: what input costs.")
    input_usd = UsdField(help_text="Uncached input, with what was written to the cache.")
    cached_input_usd = UsdField()
    output_usd = UsdField(help_text="Visible output.")
    reasoning_usd = UsdField()
    total_usd = UsdField()
    reserve_usd = UsdField(
        default=0, db_default=0, help_text="Part of the total that the reserve paid: no quota below it counts that."
    )
    is_empty = models.BooleanField(default=False, help_text="Paid for, and no visible answer came.")
    is_overrun = models.BooleanField(default=False, help_text="The bill came out above the bound that was held.")
    window_start = models.DateTimeField()
    dispatched_at = models.DateTimeField()
    booked_at = models.DateTimeField(
        help_text="When its money counts: at its dispatch, or when it was learnt, where that month was closed."
    )
    recorded_at = models.DateTimeField()

    class Meta:
        ordering = ("-recorded_at",)
        indexes: ClassVar = [
            models.Index(fields=["project", "-booked_at"]),
            models.Index(fields=["organization", "-booked_at"]),
            models.Index(fields=["-booked_at"]),
            models.Index(
                fields=["organization", "booked_at"], condition=Q(reserve_usd__gt=0), name="records_paid_by_a_reserve"
            ),
            # The dearest calls of each day are found from its top, whatever else they are filtered by.
            models.Index("organization", UTC_DAY, F("total_usd").desc(), name="dearest_records_of_a_day"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(reasoning_tokens__lte=F("output_tokens")), name="reasoning_tokens_within_output"
            ),
            models.CheckConstraint(
                condition=Q(cached_input_tokens__lte=F("input_tokens")), name="cached_tokens_within_input"
            ),
            models.CheckConstraint(
                condition=Q(cache_write_tokens__lte=F("input_tokens") - F("cached_input_tokens")),
                name="written_tokens_within_uncached_input",
            ),
            models.CheckConstraint(
                condition=Q(total_usd=F("input_usd") + F("cached_input_usd") + F("output_usd") + F("reasoning_usd")),
                name="cost_parts_sum_to_the_total",
            ),
            models.CheckConstraint(
                condition=Q(reserve_usd__gte=0, reserve_usd__lte=F("total_usd")), name="reserve_pays_a_part"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model}: {usd(self.total_usd)} USD"

    @property
    def tokens(self) -> Tokens:
        return Tokens.of(self)

    @property
    def terms(self) -> PriceTerms:
        """The price that was used."""
        return PriceTerms.of(self)
