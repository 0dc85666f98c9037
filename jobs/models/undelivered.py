"""Answers that are owed to somebody who waits for them at the front door, or who did until the connection ended."""

from typing import ClassVar

from django.db import models

from accounts.models import ApiKey
from jobs.models.jobs import Job


class Undelivered(models.Model):
    """A job whose answer has not reached whoever asked for it. Deleted when it has.

    The same request sent again finds its job by it, and is not paid for twice (`jobs.front_door.undelivered`).
    """

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True, related_name="+")
    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="+", db_index=False)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, path and body.")
    waiter = models.UUIDField(null=True, help_text="The connection that waits for it; empty: that has ended.")
    waiter_seen_at = models.DateTimeField(help_text="When its web process last said that it still waits.")
    created_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "undelivered answers"
        indexes: ClassVar = [
            models.Index(fields=["api_key", "fingerprint"], name="undelivered_of_a_request"),
            models.Index(fields=["created_at"], name="undelivered_by_age"),
        ]

    def __str__(self) -> str:
        return f"answer of {self.job_id}"
