"""Doubts: attempts whose outcome was not known, and how it came out."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from accounts.models import User
from billing.models.fields import UsdField
from jobs.models.attempts import Attempt
from jobs.states import DoubtStatus


class Doubt(models.Model):
    """One attempt that was put in doubt: the looks at the provider, and who or what settled it."""

    attempt = models.OneToOneField(Attempt, on_delete=models.PROTECT, primary_key=True, related_name="doubt")
    status = models.CharField(max_length=20, choices=DoubtStatus.choices, default=DoubtStatus.OPEN)
    opened_at = models.DateTimeField()
    looks = models.PositiveIntegerField(default=0, help_text="How often the answer was looked for at the provider.")
    looked_at = models.DateTimeField(null=True, blank=True)
    last_look = models.CharField(max_length=300, blank=True, help_text="What the last look came to.")
    was_missed = models.BooleanField(
        default=False, help_text="The last look was answered, and the provider did not have it."
    )
    next_look_at = models.DateTimeField(
        null=True, blank=True, help_text="Empty: it cannot be looked up, or nobody needs to any more."
    )
    resolved_at = models.DateTimeField(null=True, blank=True)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    reason = models.CharField(max_length=500, blank=True)
    corrected_at = models.DateTimeField(
        null=True, blank=True, help_text="When the truth was learnt after the doubt had been decided otherwise."
    )
    corrected_usd = UsdField(null=True, blank=True, help_text="By how much that moved the spend.")

    class Meta:
        ordering = ("-attempt_id",)
        indexes: ClassVar = [
            models.Index(fields=["next_look_at"], condition=Q(status="open"), name="doubts_to_be_looked_up"),
            models.Index(fields=["opened_at"], condition=Q(status="open"), name="doubts_that_are_open"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(status__in=DoubtStatus.values), name="doubt_status_is_known"),
            models.CheckConstraint(
                condition=Q(status="open", resolved_at__isnull=True)
                | (~Q(status="open") & Q(resolved_at__isnull=False, next_look_at__isnull=True)),
                name="doubt_is_resolved_once_it_is_not_open",
            ),
        ]

    def __str__(self) -> str:
        return f"doubt about {self.attempt}"
