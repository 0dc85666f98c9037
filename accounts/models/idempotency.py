"""Idempotency records: the answer to a POST, kept for whoever repeats it."""

from typing import ClassVar

from django.db import models

from accounts.models.encrypted import EncryptedJSONField
from accounts.models.organizations import Project


class IdempotencyRecord(models.Model):
    """What was answered to a request under a key. It is written in the transaction that did the work."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, path and body.")
    response_status = models.PositiveSmallIntegerField(null=True)
    response_body = EncryptedJSONField(null=True, help_text="An answer may repeat what a model said.")
    created_at = models.DateTimeField()

    class Meta:
        db_table = "jobs_idempotencyrecord"  # from when only submissions had keys
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "key"], name="one_answer_per_idempotency_key")
        ]
        indexes: ClassVar = [models.Index(fields=["created_at"])]

    def __str__(self) -> str:
        return self.key
