"""Attempts: each call of the provider for a job, one row a call."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from jobs.models.jobs import Job
from jobs.states import AttemptStatus


class Attempt(models.Model):
    """One call of the provider for a job. Its id is the reservation's reference and goes with the call as metadata."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="attempts")
    number = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=AttemptStatus.choices, default=AttemptStatus.CREATED)
    may_use_headroom = models.BooleanField(
        default=False, help_text="Of a project that has had little: it may use what the rate limits keep for such."
    )
    is_probe = models.BooleanField(
        default=False, help_text="Let through an open breaker, to see whether the provider works again."
    )
    fencing_token = models.UUIDField(
        null=True, blank=True, help_text="Of the worker that claimed it; every write names it."
    )
    worker = models.CharField(max_length=100, blank=True, help_text="The process that claimed it.")
    is_findable = models.BooleanField(
        default=False, db_default=False, help_text="The provider was asked to keep its answer, under the attempt's id."
    )
    created_at = models.DateTimeField()
    lease_expires_at = models.DateTimeField(help_text="If the call has not begun by then, the attempt is given back.")
    calling_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=100, blank=True)
    error_message = models.CharField(max_length=1000, blank=True)
    provider_request_id = models.CharField(max_length=100, blank=True)
    provider_response_id = models.CharField(max_length=100, blank=True)
    look_at = models.DateTimeField(
        null=True, blank=True, help_text="When the provider is asked next how far it is; empty: it is not asked."
    )

    class Meta:
        ordering = ("-id",)
        indexes: ClassVar = [
            models.Index(fields=["lease_expires_at"], condition=Q(status="created"), name="attempts_to_be_claimed"),
            models.Index(fields=["calling_at"], condition=Q(status="calling"), name="attempts_calling"),
            models.Index(
                fields=["look_at"],
                condition=Q(status__in=["accepted", "in_doubt"], look_at__isnull=False),
                name="attempts_to_be_looked_at",
            ),
            models.Index(
                fields=["provider_response_id"],
                condition=Q(status__in=["accepted", "in_doubt"]),
                name="attempts_at_the_provider",
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "number"], name="attempts_are_numbered"),
            models.UniqueConstraint(
                fields=["job"],
                condition=Q(status__in=["created", "calling", "accepted", "batched", "in_doubt"]),
                name="one_open_attempt_per_job",
            ),
            models.CheckConstraint(condition=Q(status__in=AttemptStatus.values), name="attempt_status_is_known"),
            models.CheckConstraint(
                condition=Q(status="batched")
                | Q(status__in=["created", "abandoned"], calling_at__isnull=True)
                | Q(
                    status__in=["calling", "accepted", "answered", "rejected", "in_doubt", "resolved"],
                    calling_at__isnull=False,
                ),
                name="attempt_that_called_says_when",
            ),
            models.CheckConstraint(
                condition=~Q(status="accepted") | ~Q(provider_response_id=""), name="accepted_attempt_has_its_id"
            ),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.job_id}"
