"""What came out when the books were compared with the provider's own bill, and what people made of it."""

from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from accounts.models import Organization, Project
from billing.models.entries import LedgerEntry
from billing.models.fields import UsdField
from billing.models.verifications import Origin
from billing.money import usd


class DifferenceKind(models.TextChoices):
    """What a line of the comparison is. Dollars of all lines add up to the whole difference."""

    MATCHED = "matched", "matched"
    MISSING_THERE = "missing_there", "missing there"  # we booked it, the provider's bill has it not
    MISSING_HERE = "missing_here", "not through Bursar"  # the provider billed it, we have no record of it
    LATE = "late", "late"  # not there yet, within the time that the provider's bill may lag behind
    PRICED_DIFFERENTLY = "priced", "priced differently"  # the same tokens for other dollars
    TOKENS_DIFFER = "tokens", "tokens differ"
    IN_DOUBT = "in_doubt", "explained by calls in doubt"
    OVER_MIDNIGHT = "over_midnight", "over midnight"  # counted on the day after; the two days cancel out


# Those that a person decides about; the others agree, explain themselves or are looked at again.
TO_DECIDE = (
    DifferenceKind.MISSING_THERE,
    DifferenceKind.MISSING_HERE,
    DifferenceKind.PRICED_DIFFERENTLY,
    DifferenceKind.TOKENS_DIFFER,
)


class ReconciliationRun(models.Model):
    """One look at the provider's bill of one account. Kept for good; a later one is another row."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(
        Organization,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="reconciliation_runs",
        help_text="Whose account it is. Empty: the deployment's, which organizations may share.",
    )
    origin = models.CharField(max_length=10, choices=Origin.choices)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    first_day = models.DateField()
    end_day = models.DateField(help_text="The UTC day after the last.")
    asked_at = models.DateTimeField()
    began_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    failure = models.CharField(max_length=300, blank=True, help_text="What broke it off.")

    class Meta:
        ordering = ("-asked_at", "-id")
        permissions: ClassVar = [
            ("ask_reconciliation", "Can have the books compared with the provider's bill"),
            ("decide_reconciliation", "Can accept differences and adjust the books by them"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(end_day__gt=models.F("first_day")), name="reconciliation_has_days"),
        ]

    def __str__(self) -> str:
        return f"{self.organization or 'shared account'}, {self.first_day} to {self.end_day}: {self.outcome}"

    @property
    def outcome(self) -> str:
        """In a word or two, as lists show it."""
        if self.failure:
            return "broken off"
        if self.finished_at is None:
            return "under way" if self.began_at else "waiting"
        return "done"


class ReconciledDay(models.Model):
    """A day of an account as it was looked at last: which run's lines hold, and whether the bill was complete then."""

    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, null=True, blank=True, related_name="reconciled_days"
    )
    day = models.DateField()
    run = models.ForeignKey(ReconciliationRun, on_delete=models.PROTECT, related_name="days")
    is_settled = models.BooleanField("settled", help_text="The provider's bill of the day is taken for complete.")
    looked_at = models.DateTimeField()

    class Meta:
        ordering = ("-day",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "day"], nulls_distinct=False, name="one_view_per_day"),
        ]

    def __str__(self) -> str:
        return f"{self.day}, {self.organization or 'shared account'}"


class ReconciliationLine(models.Model):
    """A part of a day's bill that is of one kind. Written with its run and never changed."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    run = models.ForeignKey(ReconciliationRun, on_delete=models.PROTECT, related_name="lines")
    organization = models.ForeignKey(
        Organization,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty where several organizations share the provider's project.",
    )
    project = models.ForeignKey(
        Project,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty where several projects share the provider's project, or none has it.",
    )
    day = models.DateField()
    provider_project = models.CharField(max_length=100, blank=True, help_text="Empty: those that calls do not name.")
    model = models.CharField(max_length=200)
    kind = models.CharField(max_length=20, choices=DifferenceKind.choices)
    ours_requests = models.BigIntegerField()
    ours_input_tokens = models.BigIntegerField()
    ours_cached_input_tokens = models.BigIntegerField()
    ours_output_tokens = models.BigIntegerField()
    ours_usd = UsdField()
    theirs_requests = models.BigIntegerField()
    theirs_input_tokens = models.BigIntegerField()
    theirs_cached_input_tokens = models.BigIntegerField()
    theirs_output_tokens = models.BigIntegerField()
    theirs_usd = UsdField()
    difference_usd = UsdField(help_text="Theirs less ours.")
    detail = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("day", "provider_project", "model", "kind")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["run", "day", "provider_project", "model", "kind"], name="one_line_per_kind"
            ),
            models.CheckConstraint(
                condition=Q(difference_usd=models.F("theirs_usd") - models.F("ours_usd")),
                name="difference_is_theirs_less_ours",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["project", "day"])]

    def __str__(self) -> str:
        return f"{self.day} {self.model}: {self.get_kind_display()}, {usd(self.difference_usd)} USD"


class DecisionKind(models.TextChoices):
    ADJUSTED = "adjusted"  # the difference was booked by an adjustment
    ACCEPTED = "accepted"  # somebody has looked at it, and it stays as it is


class ReconciliationDecision(models.Model):
    """What a person made of a difference: a row for each decision, which later runs of the day find again."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(
        Organization,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Whose account it is.",
    )
    line = models.ForeignKey(ReconciliationLine, on_delete=models.PROTECT, related_name="decisions")
    day = models.DateField()
    provider_project = models.CharField(max_length=100, blank=True)
    model = models.CharField(max_length=200)
    difference_kind = models.CharField(max_length=20, choices=DifferenceKind.choices)
    kind = models.CharField(max_length=10, choices=DecisionKind.choices)
    amount_usd = UsdField(help_text="How much of the difference was decided about.")
    reason = models.CharField(max_length=500)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField()
    entry = models.ForeignKey(
        LedgerEntry, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="The adjustment."
    )

    class Meta:
        ordering = ("-decided_at", "-id")
        indexes: ClassVar = [models.Index(fields=["organization", "day"], name="decisions_of_a_day")]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(reason=""), name="decision_has_a_reason"),
            models.CheckConstraint(
                condition=Q(kind="adjusted", entry__isnull=False) | Q(kind="accepted", entry__isnull=True),
                name="adjusted_decision_has_its_entry",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.model}, {self.kind}: {usd(Decimal(self.amount_usd))} USD"
