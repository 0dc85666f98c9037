"""The book: immutable lines, one for each thing that happened to money."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from accounts.models import Organization, Project
from billing.chain import GENESIS
from billing.models.budgets import Reservation
from billing.models.fields import UsdField
from billing.money import usd


class EntryKind(models.TextChoices):
    RESERVE = "reserve"  # held grows by the bound
    SETTLE = "settle"  # held shrinks by the bound, spent grows by the cost
    RELEASE = "release"  # held shrinks by the bound
    IN_DOUBT = "in_doubt"  # nothing moves: the hold stays, and says why
    ADJUST = "adjust"  # spent changes by a correction with reason and actor


class Book(models.Model):
    """An organization's book: the end of its chain of entries. Its row is the lock of the organization's money."""

    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, primary_key=True, related_name="book")
    head_sequence = models.BigIntegerField(default=0, help_text="How many lines it has.")
    head_seal = models.CharField(max_length=64, default=GENESIS, help_text="The seal of its last line.")
    closed_until = models.DateTimeField(
        null=True, blank=True, help_text="The months before this instant are closed. Empty: none is."
    )

    class Meta:
        ordering = ("organization",)

    def __str__(self) -> str:
        return f"book of {self.organization}"


class LedgerEntry(models.Model):
    """One line of the book, sealed. A trigger refuses UPDATE and DELETE; a correction is a new line."""

    sequence = models.BigIntegerField(help_text="Its place in the organization's book, from 1.")
    seal = models.CharField(max_length=64, help_text="Hash over what it says and over the seal before it.")
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="ledger_entries")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="ledger_entries")
    team_id = models.UUIDField(null=True, blank=True, help_text="The project's team at the time.")
    reservation = models.ForeignKey(
        Reservation, on_delete=models.PROTECT, null=True, blank=True, related_name="ledger_entries"
    )
    kind = models.CharField(max_length=10, choices=EntryKind.choices)
    held_change_usd = UsdField()
    spent_change_usd = UsdField()
    window_start = models.DateTimeField(help_text="The month that the amount belongs to.")
    recorded_at = models.DateTimeField()
    corrects = models.DateTimeField(
        null=True, blank=True, help_text="The month that this late truth is about, where that one was closed."
    )
    reason = models.CharField(max_length=500, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    class Meta:
        verbose_name_plural = "ledger entries"
        ordering = ("-id",)
        indexes: ClassVar = [
            models.Index(fields=["organization", "window_start"]),
            models.Index(fields=["project", "window_start"]),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "sequence"], name="one_line_per_place"),
            # A reservation is reserved once and resolved once, whatever races.
            models.UniqueConstraint(fields=["reservation"], condition=Q(kind="reserve"), name="reserved_once"),
            models.UniqueConstraint(
                fields=["reservation"], condition=Q(kind__in=["settle", "release"]), name="resolved_once"
            ),
            models.CheckConstraint(
                condition=Q(kind="reserve", held_change_usd__gte=0, spent_change_usd=0)
                | Q(kind="settle", held_change_usd__lte=0, spent_change_usd__gte=0)
                | Q(kind="release", held_change_usd__lte=0, spent_change_usd=0)
                | Q(kind="in_doubt", held_change_usd=0, spent_change_usd=0)
                | (Q(kind="adjust", held_change_usd=0, actor__isnull=False) & ~Q(reason="")),
                name="entry_moves_what_its_kind_says",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {usd(self.spent_change_usd)} USD"
