"""Prices as dated rows."""

from typing import ClassVar

from django.db import models

from billing.models.fields import UsdPerMillionField


class ServiceTier(models.TextChoices):
    STANDARD = "standard"
    BATCH = "batch"
    FLEX = "flex"
    PRIORITY = "priority"


class Price(models.Model):
    """What a model costs from a day on. A row ends where the next one begins, so two can never overlap."""

    model = models.CharField(max_length=100, help_text="The model's name, or a snapshot's where that is priced apart.")
    service_tier = models.CharField(max_length=10, choices=ServiceTier.choices, default=ServiceTier.STANDARD)
    input_usd_per_million = UsdPerMillionField()
    cached_input_usd_per_million = UsdPerMillionField(
        help_text="Equal to the input price where the provider gives no discount."
    )
    output_usd_per_million = UsdPerMillionField(help_text="Reasoning tokens are output tokens and cost the same.")
    cache_write_usd_per_million = UsdPerMillionField(
        null=True, blank=True, help_text="Of input that is written to the cache. Empty: what input costs."
    )
    effective_from = models.DateField()
    source = models.CharField(max_length=300, help_text="Where this price was read.")

    class Meta:
        ordering = ("model", "service_tier", "-effective_from")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["model", "service_tier", "effective_from"], name="one_price_per_day"),
            models.CheckConstraint(
                condition=models.Q(
                    input_usd_per_million__gte=0, cached_input_usd_per_million__gte=0, output_usd_per_million__gte=0
                ),
                name="price_is_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(cache_write_usd_per_million__isnull=True)
                | models.Q(cache_write_usd_per_million__gte=0),
                name="price_of_cache_writes_is_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(cached_input_usd_per_million__lte=models.F("input_usd_per_million")),
                name="cached_input_is_never_dearer",
            ),
            models.CheckConstraint(
                condition=models.Q(service_tier__in=ServiceTier.values), name="price_service_tier_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.service_tier} from {self.effective_from}"
