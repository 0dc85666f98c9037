"""Limits and what is held and spent against them: quota, budget, reservation, hold."""

from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from uuid_utils.compat import uuid7

from accounts.models import ApiKey, Organization, Project, Team
from billing.models.fields import UsdField
from billing.models.prices import Price, ServiceTier
from billing.money import IN_DOLLARS, amount_of, usd

# The risks that a reserve may take. Below the first no history that anybody has says anything.
LEAST_RISK, MOST_RISK = Decimal("0.001"), Decimal("0.5")


class Scope(models.TextChoices):
    """The level that a limit binds."""

    ORGANIZATION = "organization"
    TEAM = "team"
    PROJECT = "project"
    MEMBER = "member"
    KEY = "key"


class Measure(models.TextChoices):
    """What a limit counts."""

    USD = "usd", "US dollars"
    TOKENS = "tokens", "tokens"  # input and output together
    OUTPUT_TOKENS = "output_tokens", "output tokens"  # reasoning included
    REASONING_TOKENS = "reasoning_tokens", "reasoning tokens"
    JOBS = "jobs", "jobs"
    RESERVE = "reserve_usd", "US dollars of reserve"  # what calls come to beyond what was likely


class WindowKind(models.TextChoices):
    """The stretch of time after which a limit begins anew; all by UTC."""

    DAY = "day"
    WEEK = "week"  # from Monday
    MONTH = "month"
    FIXED = "fixed", "from its start to its expiry"


def _owner_matches_scope() -> Q:
    """Each scope names its owner, and no other."""
    owners = {Scope.TEAM: "team", Scope.PROJECT: "project", Scope.MEMBER: "member", Scope.KEY: "api_key"}
    allowed = Q()
    for scope in Scope:
        nulls = {f"{field}__isnull": owners.get(scope) != field for field in owners.values()}
        allowed |= Q(scope=scope, **nulls)
    return allowed


class Quota(models.Model):
    """A limit that people configure. It says what may be used; what was used stands on its budgets."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="quotas")
    scope = models.CharField(max_length=12, choices=Scope.choices, default=Scope.PROJECT)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, blank=True, related_name="quotas")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, null=True, blank=True, related_name="quotas")
    member = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="quotas"
    )
    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, null=True, blank=True, related_name="quotas")
    model = models.CharField(max_length=100, blank=True, help_text="Counts this model only. Empty: every model.")
    measure = models.CharField(max_length=16, choices=Measure.choices, default=Measure.USD)
    window = models.CharField(max_length=5, choices=WindowKind.choices, default=WindowKind.MONTH)
    limit = UsdField(validators=[MinValueValidator(0)], help_text="US dollars, tokens or jobs, as the measure says.")
    risk = models.DecimalField(
        max_digits=5,
        decimal_places=4,
        null=True,
        blank=True,
        help_text="Of a reserve: the share of calls that may come to more than quotas hold, as 0.01.",
    )
    is_hard = models.BooleanField(
        "hard", default=True, help_text="A hard limit is never crossed; a soft one is counted and shown."
    )
    starts_at = models.DateTimeField(null=True, blank=True, help_text="Binds from then on. Empty: at once.")
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Binds until then. Empty: until it is removed.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("organization", "scope", "measure", "window")
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(limit__gte=0), name="quota_is_not_negative"),
            models.CheckConstraint(condition=_owner_matches_scope(), name="quota_scope_matches_its_owner"),
            models.CheckConstraint(
                condition=~Q(window="fixed") | Q(starts_at__isnull=False, expires_at__isnull=False),
                name="fixed_quota_has_both_ends",
            ),
            models.CheckConstraint(
                condition=Q(starts_at__isnull=True) | Q(expires_at__isnull=True) | Q(expires_at__gt=F("starts_at")),
                name="quota_ends_after_it_starts",
                violation_error_message="A quota expires after it starts.",
            ),
            models.CheckConstraint(
                condition=Q(measure="reserve_usd", scope="organization", model="", is_hard=True)
                & Q(risk__isnull=False, risk__gte=LEAST_RISK, risk__lte=MOST_RISK)
                | ~Q(measure="reserve_usd") & Q(risk__isnull=True),
                name="reserve_is_the_organizations_and_has_a_risk",
            ),
        ]

    def __str__(self) -> str:
        of_model = f" of {self.model}" if self.model else ""
        window = "once" if self.window == WindowKind.FIXED else f"a {self.window}"
        return f"{amount_of(self.measure, self.limit)}{of_model} {window} for {self.owner_name}"

    @property
    def owner_name(self) -> str:
        """What people call the one that the quota binds."""
        owner = self.team or self.project or self.member or self.api_key or self.organization
        return str(owner)

    @property
    def stated_risk(self) -> str | None:
        """The risk as people and programs read it: 0.01."""
        return None if self.risk is None else f"{self.risk.normalize():f}"

    def clean(self) -> None:
        """Explains in words what the constraints refuse, and keeps owners of other organizations out."""
        owners = {"team": self.team, "project": self.project, "member": self.member, "api_key": self.api_key}
        needed = {Scope.KEY: "api_key"}.get(Scope(self.scope), self.scope)
        for name, owner in owners.items():
            if name == needed and owner is None:
                raise ValidationError({name: f"A quota of scope {self.scope} needs its {name.replace('_', ' ')}."})
            if name != needed and owner is not None:
                raise ValidationError({name: f"A quota of scope {self.scope} has no {name.replace('_', ' ')}."})
        homes = {
            "team": self.team and self.team.organization_id,
            "project": self.project and self.project.organization_id,
            "api_key": self.api_key and self.api_key.project.organization_id,
        }
        for name, home in homes.items():
            if home is not None and home != self.organization_id:
                raise ValidationError({name: "This belongs to another organization."})
        if self.member and not self.member.memberships.filter(organization_id=self.organization_id).exists():
            raise ValidationError({"member": "This person is no member of the organization."})
        if self.measure not in IN_DOLLARS and self.limit is not None and self.limit % 1:
            raise ValidationError({"limit": f"A number of {self.get_measure_display()} is whole."})
        self._check_reserve()
        if self.window == WindowKind.FIXED and not (self.starts_at and self.expires_at):
            raise ValidationError({"window": "A fixed window runs from starts_at to expires_at: set both."})

    def _check_reserve(self) -> None:
        """A reserve is the whole organization's, hard, for all models, and says its risk; nothing else has one."""
        if self.measure != Measure.RESERVE:
            if self.risk is not None:
                raise ValidationError({"risk": "Only a reserve (measure reserve_usd) has a risk."})
            return
        if self.scope != Scope.ORGANIZATION:
            raise ValidationError({"scope": "A reserve is the organization's: all its projects share it."})
        if self.model:
            raise ValidationError({"model": "A reserve is for every model."})
        if not self.is_hard:
            raise ValidationError({"is_hard": "A reserve is hard: with a soft one nothing would keep the limits."})
        if self.risk is None or not LEAST_RISK <= self.risk <= MOST_RISK:
            message = (
                f"A reserve says its risk, a share from {LEAST_RISK} to {MOST_RISK}: 0.01 is one call in a hundred."
            )
            raise ValidationError({"risk": message})


class Budget(models.Model):
    """The account of one limit in one window.

    Its counters are the sums of the holds and of what was settled, kept for the conditional UPDATE; `held` and `spent`
    are in the unit of the measure.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="budgets")
    quota = models.ForeignKey(
        Quota,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="budgets",
        help_text="Empty: the tier's limit.",
    )
    project = models.ForeignKey(
        Project,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="budgets",
        help_text="The project, where the limit is a project's.",
    )
    scope = models.CharField(max_length=12, choices=Scope.choices)
    measure = models.CharField(max_length=16, choices=Measure.choices, default=Measure.USD)
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    limit = UsdField()
    held = UsdField(default=0)
    spent = UsdField(default=0)

    class Meta:
        ordering = ("-window_start", "organization", "scope")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "quota", "project", "window_start"],
                nulls_distinct=False,
                name="one_budget_per_window",
            ),
            models.CheckConstraint(condition=Q(held__gte=0), name="budget_holds_are_not_negative"),
            models.CheckConstraint(condition=Q(limit__gte=0), name="budget_limit_is_not_negative"),
            models.CheckConstraint(condition=Q(window_end__gt=F("window_start")), name="budget_window_has_length"),
            models.CheckConstraint(
                condition=Q(quota__isnull=False)
                | Q(scope=Scope.ORGANIZATION, project__isnull=True, measure=Measure.USD)
                | Q(scope=Scope.PROJECT, project__isnull=False, measure=Measure.USD),
                name="budget_without_quota_is_the_tiers",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quota or self.project or self.organization}, from {self.window_start:%Y-%m-%d}"


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
    likely_usd = UsdField(
        null=True,
        blank=True,
        help_text="What quotas hold of it, where a reserve holds the rest. Empty: all of it.",
    )
    input_tokens = models.PositiveBigIntegerField(help_text="The bound of its input.")
    output_tokens = models.PositiveBigIntegerField(help_text="The bound of its output, reasoning included.")
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
            models.Index(
                fields=["organization", "reserved_at"],
                condition=Q(likely_usd__isnull=False),
                name="reservations_with_a_reserve",
            ),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(amount_usd__gte=0), name="reservation_is_not_negative"),
            models.CheckConstraint(
                condition=Q(likely_usd__isnull=True) | Q(likely_usd__gte=0, likely_usd__lte=F("amount_usd")),
                name="likely_is_within_the_bound",
            ),
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
    """What one reservation keeps on one budget, in the unit of the budget's measure."""

    reservation = models.ForeignKey(Reservation, on_delete=models.CASCADE, related_name="holds")
    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="holds")
    amount = UsdField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["reservation", "budget"], name="one_hold_per_budget"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="hold_is_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{amount_of(self.budget.measure, self.amount)} on {self.budget}"
