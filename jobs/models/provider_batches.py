"""Batches at the provider: lines of a batch that are sent there together, at the price of batches."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from billing.models import Price
from billing.models.fields import UsdField
from jobs.batches.states import ProviderBatchStatus
from jobs.models.batches import Batch, File


class ProviderBatch(models.Model):
    """Some lines of a batch as one batch of the provider's, which carries this row's id in its metadata.

    Each line is a job with an attempt and a hold of its own; the attempts are claimed under this id.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    batch = models.ForeignKey(Batch, on_delete=models.PROTECT, related_name="provider_batches")
    status = models.CharField(max_length=10, choices=ProviderBatchStatus.choices, default=ProviderBatchStatus.FILLING)
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="+", help_text="Of batches.")
    standard_price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="+")
    size = models.PositiveIntegerField(default=0, help_text="Lines that it was made of.")
    size_bytes = models.PositiveBigIntegerField(default=0)

    provider_id = models.CharField(max_length=100, blank=True, help_text="The provider's own id of it.")
    provider_status = models.CharField(
        max_length=20,
        blank=True,
        help_text="As the provider says; `refused` or `lost` where it never had it, or has lost it.",
    )
    input_file = models.CharField(max_length=100, blank=True, help_text="The provider's ids of its files.")
    output_file = models.CharField(max_length=100, blank=True)
    error_file = models.CharField(max_length=100, blank=True)
    told_completed = models.PositiveIntegerField(default=0, help_text="Lines that the provider says were answered.")
    error_code = models.CharField(max_length=100, blank=True, help_text="Why the provider did not run it.")

    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True, help_text="From then on its lines may be at the provider.")
    creating_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the provider was last asked to make it: it is looked for before that is done again.",
    )
    account = models.CharField(max_length=16, blank=True, help_text="Of the provider, that was asked to make it.")
    accepted_at = models.DateTimeField(null=True, blank=True)
    cancel_told_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    look_at = models.DateTimeField(null=True, blank=True, help_text="When it is next worked on.")

    # What the provider wrote, fetched; it goes when all of it is booked.
    answers = models.OneToOneField(File, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    refusals = models.OneToOneField(File, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    read_bytes = models.PositiveBigIntegerField(default=0, help_text="Of both files, one after the other, booked.")
    answered = models.PositiveIntegerField(default=0, help_text="Lines that were found among the answers.")
    saved_usd = UsdField(default=0)

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "provider batches"
        indexes: ClassVar = [
            models.Index(fields=["look_at"], condition=~Q(status="closed"), name="provider_batches_to_look_at")
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(status__in=ProviderBatchStatus.values), name="provider_batch_status_is_known"
            ),
            models.UniqueConstraint(
                fields=["batch"], condition=Q(status="filling"), name="one_batch_is_filled_at_a_time"
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["running", "ended"]) | ~Q(provider_id=""),
                name="running_provider_batch_has_its_id",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["sending", "running", "ended"]) | Q(sent_at__isnull=False),
                name="provider_batch_that_was_sent_says_when",
            ),
        ]

    def __str__(self) -> str:
        return self.provider_id or str(self.id)
