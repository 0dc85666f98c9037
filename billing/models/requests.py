"""Requests for more: a member asks for a quota to be raised for a while, and somebody decides."""

from typing import ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from uuid_utils.compat import uuid7

from accounts.models import Organization
from billing.models.budgets import Quota
from billing.models.fields import UsdField
from billing.money import amount_of


class RequestStatus(models.TextChoices):
    PENDING = "pending"
    APPROVED = "approved"  # pending -> approved: the quota is raised until `granted_until`
    REFUSED = "refused"  # pending -> refused
    WITHDRAWN = "withdrawn"  # pending -> withdrawn, by whoever asked
    EXPIRED = "expired"  # pending -> expired: nobody decided before the instant until which it was asked for


class QuotaRequest(models.Model):
    """A request for more of one quota, until an instant; decided once.

    Approved, it is the raise itself: `granted_amount` is added to the quota's limit from `decided_at` to
    `granted_until`. Amounts are in the measure of the quota.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="quota_requests")
    quota = models.ForeignKey(Quota, on_delete=models.CASCADE, related_name="requests")
    amount = UsdField(validators=[MinValueValidator(0)], help_text="How much more than the limit; in its measure.")
    until = models.DateTimeField(help_text="The instant at which the raise is to end.")
    reason = models.CharField(max_length=1000)
    status = models.CharField(max_length=10, choices=RequestStatus.choices, default=RequestStatus.PENDING)
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="quota_requests")
    asked_at = models.DateTimeField()
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=1000, blank=True, help_text="The decision's.")
    granted_amount = UsdField(null=True, blank=True)
    granted_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes: ClassVar = [
            models.Index(fields=["organization"], condition=Q(status="pending"), name="pending_quota_requests"),
            models.Index(fields=["granted_until"], condition=Q(status="approved"), name="raises_by_their_end"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["quota", "asked_by"], condition=Q(status="pending"), name="one_pending_request_each"
            ),
            models.CheckConstraint(condition=Q(amount__gt=0), name="request_asks_for_something"),
            models.CheckConstraint(
                condition=Q(
                    status="approved",
                    decided_by__isnull=False,
                    decided_at__isnull=False,
                    granted_amount__gt=0,
                    granted_until__gte=F("decided_at"),
                )
                | Q(
                    status="refused",
                    decided_by__isnull=False,
                    decided_at__isnull=False,
                    granted_amount__isnull=True,
                    granted_until__isnull=True,
                )
                | Q(
                    status__in=["pending", "withdrawn", "expired"],
                    decided_by__isnull=True,
                    decided_at__isnull=True,
                    granted_amount__isnull=True,
                    granted_until__isnull=True,
                ),
                name="request_is_decided_as_its_status_says",
            ),
        ]

    def __str__(self) -> str:
        return f"{amount_of(self.quota.measure, self.amount)} more of {self.quota}"
