"""The customer and its parts: organization, team, project, membership."""

from datetime import date, datetime
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from uuid_utils.compat import uuid7

SLUG = RegexValidator(r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z", "Use lower-case letters, digits and inner hyphens.")

LONGEST_RETENTION_DAYS = 3650


def _dispatch_weight(among: str) -> models.PositiveIntegerField:
    return models.PositiveIntegerField(
        default=100,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
        help_text=f"Its part, against the weights of the other {among}, of what is short: call slots and rate limits.",
    )


class DoubtPolicy(models.TextChoices):
    """What becomes of a call whose answer was lost and cannot be found at the provider."""

    HOLD = "hold", "keep holding its worst case until a person decides"
    PRESUME_SPENT = "presume_spent", "book its worst case as spent; the job has failed"
    RERUN = "rerun", "book its worst case as spent and run the job once more, which may pay twice"


class AdviceRule(models.TextChoices):
    """What advice on a prompt may be about. A project may let any of them refuse its jobs."""

    CHAIN_OF_THOUGHT = "chain_of_thought", "tells a reasoning model to think step by step"
    ASKS_FOR_REASONING = "asks_for_reasoning", "asks a reasoning model for its reasoning"
    FEW_SHOT_EXAMPLES = "few_shot_examples", "has worked examples"
    MISSING_DELIMITERS = "missing_delimiters", "has material that nothing sets off"
    TOO_MUCH_CONTEXT = "too_much_context", "has far more material than the question needs"
    VERBOSE_ANSWER = "verbose_answer", "does not keep a talkative model to the answer"
    SMALL_CAP = "small_cap", "has a cap that reasoning may use up"
    LARGE_MODEL = "large_model", "asks a large model for simple work"


class Organization(models.Model):
    """The customer: has a usage tier, credentials for the provider, projects, teams and members."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=200)
    slug = models.CharField(max_length=63, unique=True, validators=[SLUG])
    terms_on = models.DateField(
        "terms of",
        null=True,
        blank=True,
        help_text="The day whose tiers, rate limits, prices and shut-downs apply to this organization: an agreement "
        "that froze them, or an endpoint that kept them. Empty: today's.",
    )
    dispatch_weight = _dispatch_weight("organizations")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(dispatch_weight__gt=0), name="organization_weight_is_positive")
        ]

    def __str__(self) -> str:
        return self.name

    def terms_date(self, now: datetime) -> date:
        """The day whose dated rows apply: the agreed one, else today (UTC)."""
        return self.terms_on or now.date()


class Team(models.Model):
    """A named group of members; it may own projects."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="teams")
    name = models.CharField(max_length=200)
    members = models.ManyToManyField("accounts.Membership", blank=True, related_name="teams")
    leads = models.ManyToManyField(
        "accounts.Membership",
        blank=True,
        related_name="led_teams",
        help_text="They see the spend of the team and manage the quotas within it, whatever their role.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("organization", "name")
        constraints: ClassVar = [models.UniqueConstraint(fields=["organization", "name"], name="one_team_per_name")]

    def __str__(self) -> str:
        return self.name


class Project(models.Model):
    """A part of an organization that owns API keys, jobs and spend."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="projects")
    team = models.ForeignKey(Team, on_delete=models.SET_NULL, null=True, blank=True, related_name="projects")
    name = models.CharField(max_length=200)
    slug = models.CharField(max_length=63, validators=[SLUG])
    provider_project_id = models.CharField(
        max_length=100, blank=True, help_text="The provider's own project id (proj_...), sent with every call."
    )
    paused_at = models.DateTimeField(null=True, blank=True, help_text="While set, no new call of this project starts.")
    paused_reason = models.CharField(max_length=300, blank=True)
    dispatch_weight = _dispatch_weight("projects of the organization")
    doubt_policy = models.CharField(
        "lost answers",
        max_length=20,
        choices=DoubtPolicy.choices,
        default=DoubtPolicy.HOLD,
        db_default=DoubtPolicy.HOLD,
        help_text="What becomes of a call whose answer was lost and is not found at the provider in time.",
    )
    doubt_patience_hours = models.PositiveIntegerField(
        "hours until then",
        default=24,
        db_default=24,
        validators=[MinValueValidator(1), MaxValueValidator(24 * 30)],
        help_text="The provider keeps answers for thirty days.",
    )
    content_retention_days = models.PositiveIntegerField(
        "days that content is kept",
        null=True,
        blank=True,
        validators=[MaxValueValidator(LONGEST_RETENTION_DAYS)],
        help_text="Prompts and answers are erased so many days after a job has ended. 0: a minute after the answer was "
        "fetched, or an hour after its end if nobody fetches it, and the provider is not asked to keep it either. "
        "Empty: they are kept.",
    )
    may_batch_at_provider = models.BooleanField(
        "batches may run at the provider",
        default=False,
        db_default=False,
        help_text="Lines of its batches may be sent through the provider's batch endpoint, at the price of batches, "
        "where their model has it and a day or more is left. The provider then keeps them in files for days.",
    )
    blocks_on_advice = ArrayField(
        models.CharField(max_length=30, choices=AdviceRule.choices),
        verbose_name="advice that refuses jobs",
        default=list,
        db_default=[],
        blank=True,
        help_text="Jobs whose prompt gets advice of these kinds are refused, unless their sender ignores it by name. "
        "Empty: advice never stands in the way.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("organization", "name")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "slug"], name="one_project_per_slug"),
            models.CheckConstraint(condition=models.Q(dispatch_weight__gt=0), name="project_weight_is_positive"),
            models.CheckConstraint(
                condition=models.Q(doubt_policy__in=DoubtPolicy.values), name="project_doubt_policy_is_known"
            ),
            models.CheckConstraint(condition=models.Q(doubt_patience_hours__gte=1), name="project_is_patient"),
            models.CheckConstraint(
                condition=models.Q(blocks_on_advice__contained_by=AdviceRule.values), name="project_advice_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    OWNER = "owner"  # everything, the organization's end included
    ADMIN = "admin"  # projects, teams, members, keys, quotas
    BILLING = "billing"  # spend, quotas, payments
    MEMBER = "member"  # jobs of the own teams' projects
    VIEWER = "viewer"  # looks, changes nothing


class Membership(models.Model):
    """A user's place in an organization."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("organization", "user")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "user"], name="one_membership_per_user"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"
