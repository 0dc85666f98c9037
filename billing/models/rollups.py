"""Totals of usage records at several grains; derived, and safe to drop: `billing.rollups` makes them anew."""

from typing import Any, ClassVar

from django.db import models

from accounts.models import Organization, Project
from billing.models.fields import UsdField
from billing.models.prices import ServiceTier

# The columns of a usage record that are summed, and with those that are counted, all the totals of a rollup.
SUMMED_TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "cache_write_tokens")
SUMMED = (*SUMMED_TOKENS, "input_usd", "cached_input_usd", "output_usd", "reasoning_usd", "total_usd")
TOTALS = ("calls", "empty_calls", *SUMMED, "empty_usd")


class Rollup(models.Model):
    """What every rollup has: the organization, the project and its team at the time, and the totals."""

    OWNER: ClassVar[tuple[str, ...]]  # the columns that tell its rows of one day apart
    IS_MONTHLY: ClassVar[bool] = False  # then `day` is the first of its month

    objects: ClassVar[models.Manager[Any]]

    day = models.DateField(help_text="UTC. The day on which the calls were booked, or the first of its month.")
    # No index of their own: the constraint of each rollup begins with them.
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+", db_index=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", db_index=False)
    team_id = models.UUIDField(null=True, blank=True)
    calls = models.PositiveBigIntegerField()
    empty_calls = models.PositiveBigIntegerField()
    input_tokens = models.PositiveBigIntegerField()
    cached_input_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    reasoning_tokens = models.PositiveBigIntegerField()
    cache_write_tokens = models.PositiveBigIntegerField(default=0, db_default=0)
    input_usd = UsdField()
    cached_input_usd = UsdField()
    output_usd = UsdField()
    reasoning_usd = UsdField()
    total_usd = UsdField()
    empty_usd = UsdField(help_text="Part of the total that bought no visible answer.")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.day} {self.project}"


class SpendRollup(Rollup):
    """The finest: by day and everything that a usage record says of its owner."""

    OWNER = ("organization_id", "project_id", "team_id", "member_id", "api_key_id", "model", "service_tier")

    member_id = models.BigIntegerField(null=True, blank=True)
    api_key_id = models.UUIDField(null=True, blank=True)
    model = models.CharField(max_length=100)
    service_tier = models.CharField(max_length=10, choices=ServiceTier.choices)

    class Meta:
        ordering = ("-day", "-id")
        indexes: ClassVar = [models.Index(fields=["-day", "-id"], name="rollups_by_day")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=[
                    "organization",
                    "project",
                    "day",
                    "team_id",
                    "member_id",
                    "api_key_id",
                    "model",
                    "service_tier",
                ],
                nulls_distinct=False,
                name="one_rollup_per_day_and_owner",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.project} {self.model}"


class DayRollup(Rollup):
    """By day and project."""

    OWNER = ("organization_id", "project_id", "team_id")

    class Meta:
        ordering = ("-day", "organization", "project")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "day", "project", "team_id"],
                nulls_distinct=False,
                name="one_rollup_per_day_and_project",
            ),
        ]


class RollupOfModels(Rollup):
    """By project, model and service tier."""

    OWNER = ("organization_id", "project_id", "team_id", "model", "service_tier")

    model = models.CharField(max_length=100)
    service_tier = models.CharField(max_length=10, choices=ServiceTier.choices)

    class Meta:
        abstract = True


class RollupOfKeys(Rollup):
    """By project, member and API key."""

    OWNER = ("organization_id", "project_id", "team_id", "member_id", "api_key_id")

    member_id = models.BigIntegerField(null=True, blank=True)
    api_key_id = models.UUIDField(null=True, blank=True)

    class Meta:
        abstract = True


class DayModelRollup(RollupOfModels):
    """By day, project, model and service tier."""

    class Meta:
        ordering = ("-day", "organization", "project", "model")
        constraints: ClassVar = [
            models.UniqueConstraint(
                # The days of one model lie together; those of all are found by skipping from model to model.
                fields=["organization", "model", "day", "project", "team_id", "service_tier"],
                nulls_distinct=False,
                name="one_rollup_per_day_and_model",
            ),
        ]


class DayKeyRollup(RollupOfKeys):
    """By day, project, member and API key."""

    class Meta:
        ordering = ("-day", "organization", "project")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "day", "project", "team_id", "member_id", "api_key_id"],
                nulls_distinct=False,
                name="one_rollup_per_day_and_key",
            ),
        ]


class ProjectRollup(Rollup):
    """By month and project."""

    OWNER = ("organization_id", "project_id", "team_id")
    IS_MONTHLY = True

    class Meta:
        ordering = ("-day", "organization", "project")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "day", "project", "team_id"],
                nulls_distinct=False,
                name="one_rollup_per_month_and_project",
            ),
        ]


class ModelRollup(RollupOfModels):
    """By month, project, model and service tier."""

    IS_MONTHLY = True

    class Meta:
        ordering = ("-day", "organization", "project", "model")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "day", "project", "team_id", "model", "service_tier"],
                nulls_distinct=False,
                name="one_rollup_per_month_and_model",
            ),
        ]


class KeyRollup(RollupOfKeys):
    """By month, project, member and API key."""

    IS_MONTHLY = True

    class Meta:
        ordering = ("-day", "organization", "project")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "day", "project", "team_id", "member_id", "api_key_id"],
                nulls_distinct=False,
                name="one_rollup_per_month_and_key",
            ),
        ]


class HourRollup(models.Model):
    """By hour and owner, of organizations with limits of a day; for forecasts alone.

    No settlement writes it: `billing.hourly` makes a day's rows when the day is over, and makes them anew where usage
    came late.
    """

    OWNER = ("organization_id", "project_id", "team_id", "member_id", "api_key_id", "model")
    TOTALS = ("calls", "input_tokens", "output_tokens", "reasoning_tokens", "total_usd")

    hour = models.DateTimeField(help_text="Its beginning.")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_index=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    team_id = models.UUIDField(null=True, blank=True)
    member_id = models.BigIntegerField(null=True, blank=True)
    api_key_id = models.UUIDField(null=True, blank=True)
    model = models.CharField(max_length=100)
    calls = models.PositiveBigIntegerField()
    input_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    reasoning_tokens = models.PositiveBigIntegerField()
    total_usd = UsdField()

    class Meta:
        ordering = ("-hour", "organization", "project")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "hour", "project", "team_id", "member_id", "api_key_id", "model"],
                nulls_distinct=False,
                name="one_rollup_per_hour_and_owner",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H} {self.project}"
