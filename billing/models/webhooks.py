"""Where programs are told: endpoints, what is to be delivered to them, and what came of each try."""

from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from accounts.models import Organization
from accounts.secrets import decrypt, encrypt
from billing.models.alerts import Alert


class EventType(models.TextChoices):
    """What an endpoint may be told. Names of other things than money are free: job.* is not sent yet."""

    THRESHOLD_REACHED = "budget.threshold_reached"
    FORECAST_EXCEEDED = "budget.forecast_exceeded"
    EXHAUSTED = "budget.exhausted"
    ANOMALY_DETECTED = "spend.anomaly_detected"
    OVERRUN_DETECTED = "spend.overrun_detected"
    DRIFT_DETECTED = "reconcile.drift_detected"
    IN_DOUBT = "job.in_doubt"
    VERIFICATION_FAILED = "ledger.verification_failed"


# Sent by the button of that name alone, whatever the endpoint is subscribed to.
TEST_EVENT = "webhook.test"


class WebhookEndpoint(models.Model):
    """An address of an organization to which alerts are posted, signed. `billing.webhooks.endpoints` writes it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="webhook_endpoints")
    url = models.CharField(max_length=2000)
    description = models.CharField(max_length=200, blank=True)
    event_types = ArrayField(
        models.CharField(max_length=60, choices=EventType.choices),
        default=list,
        blank=True,
        help_text="Empty: every type, those of later versions included.",
    )
    encrypted_secret = models.TextField(editable=False)
    encrypted_former_secret = models.TextField(editable=False, blank=True)
    former_secret_until = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Until then messages are signed with the former one as well."
    )
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    disabled_reason = models.CharField(max_length=300, blank=True, editable=False)
    succeeded_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When it last took a message.")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("organization", "-created_at")
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(disabled_at__isnull=True, disabled_reason="") | Q(disabled_at__isnull=False),
                name="enabled_endpoint_has_no_reason",
            ),
        ]

    def __str__(self) -> str:
        return self.description or self.url

    @property
    def secret(self) -> str:
        return decrypt(self.encrypted_secret)

    @secret.setter
    def secret(self, secret: str) -> None:
        self.encrypted_secret = encrypt(secret)

    def secrets_at(self, now: datetime) -> list[str]:
        """What messages are signed with at this instant: the secret, and for a day after a rotation the former one."""
        is_former_good = self.former_secret_until is not None and now < self.former_secret_until
        return [self.secret, *([decrypt(self.encrypted_former_secret)] if is_former_good else [])]


class DeliveryStatus(models.TextChoices):
    PENDING = "pending"  # due at an instant; a sender that has it puts that instant off
    DELIVERED = "delivered"  # pending -> delivered: the endpoint said yes
    FAILED = "failed"  # pending -> failed: the endpoint never did, or is gone


class WebhookDelivery(models.Model):
    """One message to one endpoint, written with what it tells. Delivered at least once, with one id each time."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, null=True, blank=True, related_name="deliveries")
    event_type = models.CharField(max_length=60)
    body = models.TextField(help_text="What is posted, to the byte, each time.")
    status = models.CharField(max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING)
    due_at = models.DateTimeField(help_text="When it is tried next; of one that a sender has, when that one is lost.")
    claims = models.PositiveIntegerField(default=0, help_text="How often a sender took it: tells late ones apart.")
    tries = models.PositiveSmallIntegerField(default=0, help_text="Since it was made, or last replayed.")
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "webhook deliveries"
        ordering = ("-id",)
        indexes: ClassVar = [
            models.Index(fields=["endpoint", "due_at"], condition=Q(status="pending"), name="deliveries_pending"),
            models.Index(fields=["endpoint", "-id"], name="deliveries_of_an_endpoint"),
            models.Index(fields=["finished_at"], name="deliveries_finished"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(status="pending", finished_at__isnull=True)
                | Q(status__in=["delivered", "failed"], finished_at__isnull=False),
                name="delivery_is_finished_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} to {self.endpoint_id}, {self.status}"

    @property
    def message_id(self) -> str:
        """`webhook-id`: the same however often it is sent."""
        return f"msg_{self.pk.hex}"


class WebhookTry(models.Model):
    """One try of a delivery, and what came of it."""

    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="log")
    tried_at = models.DateTimeField()
    milliseconds = models.PositiveIntegerField()
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.CharField(max_length=40, blank=True, help_text="Why there was no answer.")
    answer = models.CharField(max_length=200, blank=True, help_text="How the answer began.")

    class Meta:
        verbose_name_plural = "webhook tries"
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.http_status or self.error} in {self.milliseconds} ms"
