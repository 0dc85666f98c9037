"""What people have to be told about money."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from accounts.models import Organization, Project


class AlertKind(models.TextChoices):
    OVERRUN = "overrun", "bill above its bound"
    DRIFT = "drift", "books and provider's bill differ"


class Alert(models.Model):
    """Raised once for its subject, mailed once to the organization's owners and admins, open until acknowledged."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="alerts")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, null=True, blank=True, related_name="alerts")
    kind = models.CharField(max_length=20, choices=AlertKind.choices)
    reference = models.CharField(
        max_length=100,
        help_text="What it is about; an overrun: the attempt that was billed; drift: organization and day.",
    )
    text = models.CharField(max_length=500)
    raised_at = models.DateTimeField()
    mailed_at = models.DateTimeField(null=True, blank=True)
    mailed_to = models.PositiveIntegerField(default=0, help_text="How many people it was mailed to.")
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    class Meta:
        ordering = ("-raised_at",)
        indexes: ClassVar = [
            models.Index(fields=["raised_at"], condition=Q(mailed_at__isnull=True), name="alerts_not_mailed"),
            models.Index(fields=["project"], condition=Q(acknowledged_at__isnull=True), name="open_alerts"),
        ]
        permissions: ClassVar = [("acknowledge_alert", "Can acknowledge alerts")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "reference"], name="one_alert_per_subject"),
            models.CheckConstraint(
                condition=Q(acknowledged_at__isnull=True, acknowledged_by__isnull=True)
                | Q(acknowledged_at__isnull=False, acknowledged_by__isnull=False),
                name="alert_is_acknowledged_by_somebody",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.text}"
