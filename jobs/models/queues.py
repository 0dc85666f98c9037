"""Queues: the queued jobs of one project for one family of models; and what projects and organizations had of calls."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from accounts.models import Organization, Project


class Queue(models.Model):
    """The queued jobs of one project for one family of models. The jobs are its content; the row holds what is true of
    all of them, so that a million waiting jobs are told by one write.

    Its id follows from project and family (`jobs.queues`).
    """

    id = models.UUIDField(primary_key=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="queues")
    family = models.CharField(max_length=100, help_text="Models of one family share a rate limit.")
    waiting_on = models.JSONField(null=True, blank=True, help_text="What keeps its next job from starting.")
    waiting_at = models.DateTimeField(null=True, blank=True, help_text="When that was last seen.")
    retry_at = models.DateTimeField(null=True, blank=True, help_text="Not to be looked at before this instant.")
    probe = models.JSONField(
        null=True, blank=True, help_text="How far jobs were looked through for one that fits the budget."
    )
    starts_per_minute = models.DecimalField(
        max_digits=14, decimal_places=4, default=0, help_text="The mean of the last while, as of the last start."
    )
    started_at = models.DateTimeField(null=True, blank=True, help_text="When a job of it last started.")

    class Meta:
        ordering = ("project", "family")
        constraints: ClassVar = [models.UniqueConstraint(fields=["project", "family"], name="one_queue_per_family")]

    def __str__(self) -> str:
        return f"{self.project}: {self.family}"


class Share(models.Model):
    """What an organization, or one project of it, has had of calls, in nanoseconds of what is short, by its weight.

    Start-time fair queueing (`jobs.dispatch.shares`). Losing a row costs its owner nothing but the past.
    """

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, null=True, blank=True, related_name="+", help_text="Empty: all of them."
    )
    begun_ns = models.BigIntegerField(default=0, help_text="The virtual instant at which its last start began.")
    served_ns = models.BigIntegerField(default=0, help_text="The virtual instant at which its last start was paid.")
    clock_ns = models.BigIntegerField(default=0, help_text="The virtual instant among an organization's projects.")
    started_at = models.DateTimeField()

    class Meta:
        ordering = ("organization", "project")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "project"], nulls_distinct=False, name="one_share_each")
        ]
        indexes: ClassVar = [
            models.Index(fields=["-begun_ns"], condition=Q(project__isnull=True), name="shares_of_organizations")
        ]

    def __str__(self) -> str:
        return f"share of {self.project or self.organization}"
