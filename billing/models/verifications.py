"""What came out when an organization's books were verified; kept, so that a later look can be compared with it."""

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from accounts.models import Organization


class Origin(models.TextChoices):
    """Who asked for a verification."""

    PAGE = "page", "admin"
    COMMAND = "command"
    NIGHTLY = "nightly"
    API = "api", "API"


class Verification(models.Model):
    """One verification of one book: asked for, then under way, then with its outcome: no `differences` if all agree.

    The seal of the head says which book it was that was looked at: every line up to it is sealed by it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="verifications")
    origin = models.CharField(max_length=10, choices=Origin.choices)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Who asked for it on the page.",
    )
    is_repair = models.BooleanField("repair", default=False, help_text="Rollups and budgets were made anew first.")
    asked_at = models.DateTimeField()
    began_at = models.DateTimeField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    lines = models.BigIntegerField(null=True, blank=True, help_text="How many lines the book had.")
    head_seal = models.CharField(max_length=64, blank=True, help_text="The seal of its last line at the time.")
    checks = models.JSONField(default=list, help_text="The names of the checks that were made.")
    differences = models.JSONField(default=list, help_text="The first difference that each check found.")
    failure = models.CharField(max_length=300, blank=True, help_text="What broke it off.")

    class Meta:
        ordering = ("-asked_at", "-id")
        indexes: ClassVar = [models.Index(fields=["organization", "-asked_at"])]
        permissions: ClassVar = [
            ("verify_book", "Can have a book verified"),
            ("repair_book", "Can have rollups and budgets made anew"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(verified_at__isnull=True) | Q(lines__isnull=False) & ~Q(head_seal="") & Q(failure=""),
                name="verification_says_of_which_book",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.organization}, {self.asked_at:%Y-%m-%d %H:%M}: {self.outcome}"

    @property
    def outcome(self) -> str:
        """In a word or two, as lists show it."""
        if self.failure:
            return "broken off"
        if self.verified_at is None:
            return "under way" if self.began_at else "waiting"
        return "differs" if self.differences else "agrees"

    @property
    def asked_by(self) -> str:
        return str(self.actor) if self.actor else self.get_origin_display()

    @property
    def took(self) -> str:
        """How long it took, in seconds."""
        if not (self.began_at and self.verified_at):
            return ""
        tenths = (self.verified_at - self.began_at) // timedelta(milliseconds=100)
        return f"{tenths // 10}.{tenths % 10} s"

    @property
    def is_derived_only(self) -> bool:
        """Whether all that differs can be made anew from what does not."""
        return bool(self.differences) and all(difference["is_derived"] for difference in self.differences)
