"""Usage tiers and what they allow, as dated rows; the payments that a tier follows from.

The override that says who and why.
"""

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from uuid_utils.compat import uuid7

from accounts.models.organizations import Organization, Project

TIER_NUMBER = [MinValueValidator(0), MaxValueValidator(5)]


class UsageTier(models.Model):
    """What the provider asks for a tier, and the monthly limit that the tier brings, from a day on."""

    number = models.PositiveSmallIntegerField(validators=TIER_NUMBER, help_text="0 is the Free tier.")
    name = models.CharField(max_length=30)
    minimum_paid_usd = models.DecimalField(
        max_digits=24, decimal_places=12, help_text="Sum of payments that the tier asks for."
    )
    minimum_days = models.PositiveIntegerField(help_text="Days since the first payment that the tier asks for.")
    monthly_limit_usd = models.DecimalField(max_digits=24, decimal_places=12)
    effective_from = models.DateField()
    source = models.CharField(max_length=300, help_text="Where this row was read.")

    class Meta:
        ordering = ("-effective_from", "number")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["number", "effective_from"], name="one_tier_row_per_day"),
            models.CheckConstraint(
                condition=models.Q(minimum_paid_usd__gte=0, monthly_limit_usd__gte=0),
                name="tier_amounts_are_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (from {self.effective_from})"


class RateLimit(models.Model):
    """What the provider lets a tier send to a model, from a day on. Empty means: the provider states no such limit."""

    tier = models.PositiveSmallIntegerField(validators=TIER_NUMBER)
    model = models.CharField(max_length=100, help_text="The model, or the family of models that shares the limit.")
    requests_per_minute = models.PositiveBigIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveBigIntegerField(null=True, blank=True)
    requests_per_day = models.PositiveBigIntegerField(null=True, blank=True)
    tokens_per_day = models.PositiveBigIntegerField(null=True, blank=True)
    batch_queue_tokens = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text="Input tokens that may wait in the provider's batches. Empty: the model has no batches.",
    )
    effective_from = models.DateField()
    source = models.CharField(max_length=300)

    class Meta:
        ordering = ("model", "tier", "-effective_from")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tier", "model", "effective_from"], name="one_rate_limit_row_per_day"),
        ]

    def __str__(self) -> str:
        return f"{self.model}, tier {self.tier} (from {self.effective_from})"


class ProjectRateLimit(models.Model):
    """What an administrator lets one project send to a model, beside what its whole organization may send."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="rate_limits")
    model = models.CharField(max_length=100, help_text="The model, or the family of models that shares the limit.")
    requests_per_minute = models.PositiveBigIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="Empty: no limit of its own."
    )
    tokens_per_minute = models.PositiveBigIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    requests_per_day = models.PositiveBigIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    tokens_per_day = models.PositiveBigIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])

    class Meta:
        ordering = ("project", "model")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "model"], name="one_rate_limit_row_per_project"),
            # A limit of nothing would not bind: whoever wants to stop a project pauses it.
            *(
                models.CheckConstraint(
                    condition=models.Q((f"{limit}__isnull", True)) | models.Q((f"{limit}__gt", 0)),
                    name=f"project_{limit}_positive",
                )
                for limit in ("requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model}, {self.project}"


class Payment(models.Model):
    """Money that the provider has received from the organization: what its tier follows from."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="payments")
    amount_usd = models.DecimalField(max_digits=24, decimal_places=12)
    paid_at = models.DateTimeField()
    reference = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("-paid_at",)
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(amount_usd__gt=0), name="payment_is_positive"),
            models.UniqueConstraint(
                fields=["organization", "reference"],
                condition=~models.Q(reference=""),
                name="one_payment_per_reference",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount_usd:f} USD on {self.paid_at:%Y-%m-%d}"


class TierOverride(models.Model):
    """A tier set by hand, with the person and the reason; the newest one that has not ended counts."""

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="tier_overrides")
    tier = models.PositiveSmallIntegerField(validators=TIER_NUMBER)
    reason = models.CharField(max_length=500)
    actor = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    ends_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints: ClassVar = [
            models.CheckConstraint(condition=~models.Q(reason=""), name="tier_override_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"tier {self.tier} for {self.organization}"
