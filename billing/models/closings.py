"""Closed months: what a month's money came to when it was closed, for good."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from accounts.models import Organization
from billing.models.fields import UsdField
from billing.money import usd


class ClosedMonth(models.Model):
    """A calendar month of an organization that takes no more lines: how many it has, their sum and their hash.

    A trigger refuses UPDATE and DELETE. What is learnt later is booked in the open month and names this one.
    """

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="closed_months")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    lines = models.PositiveBigIntegerField(help_text="Ledger entries of the month.")
    spent_usd = UsdField(help_text="The sum of what they spent, corrections included.")
    held_usd = UsdField(help_text="Still held by calls of the month when it was closed.")
    seal = models.CharField(max_length=64, help_text="Hash over the seals of its lines and of the month before it.")
    closed_at = models.DateTimeField()
    closed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty: closed by itself, some days after its end.",
    )

    class Meta:
        ordering = ("-starts_at", "organization")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "starts_at"], name="month_is_closed_once"),
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="closed_month_has_length"),
        ]

    def __str__(self) -> str:
        return f"{self.starts_at:%B %Y} of {self.organization}: {usd(self.spent_usd)} USD"
