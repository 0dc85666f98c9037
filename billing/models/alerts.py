"""What people have to be told about money."""

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from accounts.models import Organization, Project, Team
from billing.models.budgets import Budget
from billing.models.fields import UsdField

# Parts of a limit that are told, in percent. Whoever wants fewer of them chooses (`AlertSettings`).
PERCENTS = (50, 75, 90, 100)


class AlertKind(models.TextChoices):
    OVERRUN = "overrun", "bill above its bound"
    DRIFT = "drift", "books and provider's bill differ"
    HELD_BACK = "held_back", "calls wait for the provider's account"
    THRESHOLD = "threshold", "part of a limit is spent"
    EXHAUSTED = "exhausted", "limit is used up, jobs wait"
    FORECAST = "forecast", "limit will not last"
    ANOMALY = "anomaly", "unusual spend of a day"
    DOUBTS = "doubts", "answers are lost"
    ENDPOINT = "endpoint", "webhook endpoint disabled"
    BROKEN = "broken", "books or audit trail do not verify"


class Alert(models.Model):
    """Raised once for its subject, mailed once to who has to know, sent to webhooks, open until acknowledged."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="alerts")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, null=True, blank=True, related_name="alerts")
    team = models.ForeignKey(
        Team,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="alerts",
        help_text="The team whose limit it is about; its leads are told, too.",
    )
    kind = models.CharField(max_length=20, choices=AlertKind.choices)
    reference = models.CharField(
        max_length=100,
        help_text="What it is about; an overrun: the attempt that was billed; drift: organization and day; held "
        "back: the opening of the breaker; broken: book or trail, and the day it was found; a limit: whose it is, the "
        "beginning of its window and the percentage.",
    )
    text = models.CharField(max_length=500)
    data = models.JSONField(default=dict, blank=True, help_text="The figures, as webhooks send them.")
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
            models.Index(fields=["organization", "-id"], name="alerts_of_an_organization"),
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


class Crossing(models.Model):
    """That a budget passed a percentage of its limit, or had no room for a call: noted once, where the money moved.

    Whoever raises alerts reads what is not told yet; so a settlement does no more than to write this line.
    """

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="crossings", db_index=False)
    kind = models.CharField(
        max_length=20, choices=[(kind.value, kind.label) for kind in (AlertKind.THRESHOLD, AlertKind.EXHAUSTED)]
    )
    percent = models.PositiveSmallIntegerField()
    crossed_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("id",)
        indexes: ClassVar = [models.Index(fields=["id"], condition=Q(told_at__isnull=True), name="crossings_not_told")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["budget", "kind", "percent"], name="one_crossing_per_budget"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.percent} % of {self.budget_id}"


def every_percent() -> list[int]:
    return list(PERCENTS)


def _known_percents(percents: list[int]) -> None:
    if unknown := sorted(set(percents) - set(PERCENTS)):
        raise ValidationError(f"{unknown[0]} is none of {', '.join(map(str, PERCENTS))}.")


class AlertSettings(models.Model):
    """What an organization wants to be told. Without a row: everything."""

    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, related_name="alert_settings")
    percents = ArrayField(
        models.PositiveSmallIntegerField(),
        default=every_percent,
        blank=True,
        validators=[_known_percents],
        help_text="Parts of every limit, in percent: each is told once in a window.",
    )
    tells_forecasts = models.BooleanField(
        "forecasts", default=True, help_text="That a limit will not last until the end of its window."
    )
    tells_anomalies = models.BooleanField(
        "unusual spend", default=True, help_text="That a project spends far more on a day than it does."
    )
    doubts_count = models.PositiveIntegerField(
        "lost answers", default=10, help_text="Tell when so many calls are in doubt at once."
    )
    doubts_usd = UsdField("or their worst case", default=10, help_text="Or when they hold so many US dollars together.")

    class Meta:
        verbose_name = "alert settings"
        verbose_name_plural = "alert settings"
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(doubts_usd__gte=0), name="doubts_usd_is_not_negative"),
        ]

    def __str__(self) -> str:
        return f"What {self.organization} is told"
