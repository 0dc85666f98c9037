"""The audit trail: who changed, looked at or took away what, when and from where."""

from typing import ClassVar

from django.db import models
from uuid_utils.compat import uuid7

from accounts.audit_chain import GENESIS, NO_ORGANIZATION


class AuditAction(models.TextChoices):
    """What was done; the subject's type says to what."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    VIEWED = "viewed"  # the content of a job
    EXPORTED = "exported"
    DECIDED = "decided"  # a request, a doubt, a difference, a review
    SIGNED_IN = "signed_in"
    SIGN_IN_FAILED = "sign_in_failed"


def _named(model: str) -> models.ForeignKey:
    """A row that an entry names and outlives: entries are kept for ever, and nothing about them ever changes."""
    return models.ForeignKey(model, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+")


class AuditTrail(models.Model):
    """An organization's chain of audit entries, or the one of what belongs to none. Its row is the lock of the chain.

    Locked after books and never before: `accounts.audit.record` is the last that an act does.
    """

    # Not a foreign key: the trail of an organization that was deleted stays.
    id = models.UUIDField(primary_key=True, editable=False, help_text="The organization's id; all zero for none.")
    head_sequence = models.BigIntegerField(default=0, help_text="How many entries it has.")
    head_seal = models.CharField(max_length=64, default=GENESIS, help_text="The seal of its last entry.")
    verified_at = models.DateTimeField(null=True, blank=True)
    verified_entries = models.BigIntegerField(null=True, blank=True, help_text="How many it had then.")
    break_found = models.CharField(max_length=300, blank=True, help_text="The first difference; empty: it is intact.")

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return "trail of no organization" if self.id == NO_ORGANIZATION else f"trail of organization {self.id}"


class AuditEntry(models.Model):
    """One act, sealed. Written once, in the transaction of the act, by `accounts.audit.record`, and kept for ever.

    A trigger refuses UPDATE, DELETE and TRUNCATE, and nobody has the right.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    sequence = models.BigIntegerField(help_text="Its place in the trail of its organization, from 1.")
    seal = models.CharField(max_length=64, help_text="Hash over what it says and over the seal before it.")
    # Empty for what belongs to no organization: prices, tiers, a failed sign-in.
    organization = _named("accounts.Organization")
    action = models.CharField(max_length=20, choices=AuditAction.choices)
    subject_type = models.CharField(max_length=60, help_text="As in the API: quota, api_key, price, job_content.")
    subject_id = models.CharField(max_length=100, blank=True)
    subject_name = models.CharField(max_length=300, blank=True)
    actor = _named("accounts.User")
    api_key = _named("accounts.ApiKey")
    actor_name = models.CharField(max_length=300, help_text="Of the person or the program, as it was then.")
    address = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=100, blank=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    reason = models.CharField(max_length=1000, blank=True)
    at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ("-at", "-id")
        indexes: ClassVar = [
            models.Index(fields=["organization", "-at"]),
            models.Index(fields=["subject_type", "subject_id"]),
            models.Index(fields=["-at", "-id"], name="audit_entries_newest_first"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "sequence"], nulls_distinct=False, name="one_audit_entry_per_place"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name} {self.get_action_display()} {self.subject_type} {self.subject_name}".strip()
