"""The review of a month's spend: what people said about each line of it, and what they approved."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from accounts.models import Organization, Project
from billing.models.fields import UsdField


class ReviewState(models.TextChoices):
    """Where a line stands. A line that nobody said anything about has no row, and is open."""

    OPEN = "open"
    QUESTIONED = "questioned"
    ANSWERED = "answered"
    APPROVED = "approved"


class ReviewAct(models.TextChoices):
    """What somebody does to a line."""

    APPROVED = "approved"
    QUESTIONED = "questioned"
    ANSWERED = "answered"
    COMMENTED = "commented"


class ReviewedLine(models.Model):
    """A line of a month's spend that somebody reviewed: what one member spent in a project on one model.

    The line of a project's adjustments has neither model nor member. What a line comes to stands in the books; here is
    what it came to when it was approved, so that a change since then shows.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="reviewed_lines")
    month = models.DateField(help_text="The first of the month, UTC.")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="reviewed_lines")
    model = models.CharField(max_length=100, blank=True)
    member_id = models.BigIntegerField(null=True, blank=True)
    state = models.CharField(max_length=12, choices=ReviewState.choices, default=ReviewState.OPEN)
    approved_usd = UsdField(null=True, blank=True)
    changed_at = models.DateTimeField()

    class Meta:
        ordering = ("-month", "organization", "project", "model")
        permissions: ClassVar = [("review_spend", "Can approve and question spend")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "month", "project", "model", "member_id"],
                nulls_distinct=False,
                name="a_line_is_reviewed_in_one_place",
            ),
            models.CheckConstraint(
                condition=Q(state="approved", approved_usd__isnull=False)
                | (~Q(state="approved") & Q(approved_usd__isnull=True)),
                name="approved_line_keeps_its_amount",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month:%B %Y}, {self.project}, {self.model or 'adjustments'}"


class ReviewNote(models.Model):
    """One thing that somebody did to a line, with what it came to then. Never changed."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    line = models.ForeignKey(ReviewedLine, on_delete=models.PROTECT, related_name="notes")
    act = models.CharField(max_length=12, choices=ReviewAct.choices)
    amount_usd = UsdField(help_text="What the line came to at the time.")
    text = models.CharField(max_length=1000, blank=True)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()

    class Meta:
        ordering = ("at", "id")
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(act="approved") | ~Q(text=""), name="only_an_approval_needs_no_words"),
        ]

    def __str__(self) -> str:
        return f"{self.get_act_display()} by {self.author}"
