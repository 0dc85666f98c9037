"""Limits and what is held and spent against them: quota, budget, reservation, hold."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from uuid_utils.compat import uuid7

from accounts.models import Organization, Project
from billing.models.fields import UsdField
from billing.models.prices import Price, ServiceTier
from billing.money import usd


class Scope(models.TextChoices):
    """The level that a limit binds. The order of the members is the order in which budgets are locked, always."""

    ORGANIZATION = "organization"
    PROJECT = "project"

    @property
    def rank(self) -> int:
        return list(type(self)).index(self)


class Quota(models.Model):
    """A limit that people configure. It says what may be spent; what was spent stands on its budgets."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="monthly_quota")
    limit_usd = UsdField("monthly limit (USD)")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("project",)
        constraints: ClassVar = [models.CheckConstraint(condition=Q(limit_usd__gte=0), name="quota_is_not_negative")]

    def __str__(self) -> str:
        return f"{usd(self.limit_usd)} USD a month for {self.project}"


class Budget(models.Model):
    """The account of one limit in one window.

    Its counters are the sums of its ledger entries, kept for the conditional UPDATE.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="budgets")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, null=True, blank=True, related_name="budgets")
    scope = models.CharField(max_length=20, choices=Scope.choices)
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    limit_usd = UsdField()
    held_usd = UsdField(default=0)
    spent_usd = UsdField(default=0)

    class Meta:
        ordering = ("-window_start", "organization", "scope")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "project", "window_start"], nulls_distinct=False, name="one_budget_per_window"
            ),
            models.CheckConstraint(condition=Q(held_usd__gte=0), name="budget_holds_are_not_negative"),
            models.CheckConstraint(condition=Q(limit_usd__gte=0), name="budget_limit_is_not_negative"),
            models.CheckConstraint(condition=Q(window_end__gt=F("window_start")), name="budget_window_has_length"),
            models.CheckConstraint(
                condition=Q(scope=Scope.ORGANIZATION, project__isnull=True)
                | Q(scope=Scope.PROJECT, project__isnull=False),
                name="budget_scope_matches_its_owner",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.project or self.organization}, {self.window_start:%Y-%m}"


class ReservationStatus(models.TextChoices):
    OPEN = "open"  # the hold counts against the budgets
    SETTLED = "settled"  # open -> settled: the actual cost replaced the hold
    RELEASED = "released"  # open -> released: nothing was billed


class Reservation(models.Model):
    """The open claim of one attempt on all its budgets; resolved once.

    It keeps whom the spend belongs to, and the price.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    reference = models.UUIDField(unique=True, help_text="Whatever the holder calls the attempt; opaque here.")
    status = models.CharField(max_length=10, choices=ReservationStatus.choices, default=ReservationStatus.OPEN)
    is_in_doubt = models.BooleanField(default=False, help_text="The outcome is not known; the hold stays until it is.")
    amount_usd = UsdField(help_text="The bound: what the call can cost at most.")
    settled_usd = UsdField(null=True, blank=True)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    team_id = models.UUIDField(null=True, blank=True)
    member_id = models.BigIntegerField(null=True, blank=True)
    api_key_id = models.UUIDField(null=True, blank=True)
    model = models.CharField(max_length=100)
    service_tier = models.CharField(max_length=10, choices=ServiceTier.choices)
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="+")
    window_start = models.DateTimeField()
    reserved_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)
    budgets = models.ManyToManyField(Budget, through="billing.Hold")

    class Meta:
        ordering = ("-reserved_at",)
        indexes: ClassVar = [
            models.Index(fields=["project", "reserved_at"], condition=Q(status="open"), name="open_reservations"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(amount_usd__gte=0), name="reservation_is_not_negative"),
            models.CheckConstraint(
                condition=Q(status="open", settled_usd__isnull=True, resolved_at__isnull=True)
                | Q(status="settled", settled_usd__isnull=False, resolved_at__isnull=False, is_in_doubt=False)
                | Q(status="released", settled_usd__isnull=True, resolved_at__isnull=False, is_in_doubt=False),
                name="reservation_is_resolved_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.status} {usd(self.amount_usd)} USD, {self.reference}"


class Hold(models.Model):
    """What one reservation keeps on one budget."""

    reservation = models.ForeignKey(Reservation, on_delete=models.CASCADE, related_name="holds")
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="holds")
    amount_usd = UsdField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["reservation", "budget"], name="one_hold_per_budget"),
            models.CheckConstraint(condition=Q(amount_usd__gte=0), name="hold_is_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{usd(self.amount_usd)} USD on {self.budget}"
