"""Files and batches: a batch reads its requests from one file, and writes the answers to others."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from uuid_utils.compat import uuid7

from accounts.models import ApiKey, Project
from accounts.models.encrypted import EncryptedJSONField, SealedBytesField
from billing.models.fields import UsdField
from jobs.batches.states import BATCH_ACTIVE, BATCH_FINAL, BatchStatus, FileStatus, LineStatus, Purpose
from jobs.models.jobs import Job

# Lines that one batch at the provider has: some megabytes to send, and a hold that many projects can have.
MOST_LINES_AT_PROVIDER = 5000


class File(models.Model):
    """What is known of a file. Its content stands in `FileChunk`, and can be erased without it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="files")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    status = models.CharField(max_length=10, choices=FileStatus.choices, default=FileStatus.WRITING)
    bytes = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Its content is erased then.")
    read_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When its content was first handed out."
    )

    class Meta:
        ordering = ("-id",)
        indexes: ClassVar = [
            models.Index(fields=["project", "-id"], name="files_of_a_project"),
            models.Index(fields=["created_at"], condition=Q(status="writing"), name="files_being_written"),
            models.Index(fields=["expires_at"], condition=Q(status="processed"), name="files_to_expire"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(status__in=FileStatus.values), name="file_status_is_known")
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        """The id as the provider writes one."""
        return f"file-{self.id.hex}"


class FileChunk(models.Model):
    """A piece of a file, of 256 KB at most, so that one of 200 MB never is in memory as a whole."""

    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="chunks")
    position = models.PositiveBigIntegerField(help_text="Of its first byte in the file.")
    data = SealedBytesField()

    class Meta:
        ordering = ("file", "position")
        constraints: ClassVar = [models.UniqueConstraint(fields=["file", "position"], name="one_chunk_at_a_position")]

    def __str__(self) -> str:
        return f"{self.file_id} from {self.position}"


class Batch(models.Model):
    """Many requests in one file, to be answered within a window. What came of its lines is counted here."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="batches")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="batches")
    input_file = models.ForeignKey(File, on_delete=models.PROTECT, related_name="batches")
    output_file = models.OneToOneField(File, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    error_file = models.OneToOneField(File, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    endpoint = models.CharField(max_length=100)
    completion_window = models.CharField(max_length=10)
    output_expires_after = models.DurationField(help_text="How long its output and error files are kept.")
    metadata = models.JSONField(null=True, blank=True)
    status = models.CharField(max_length=12, choices=BatchStatus.choices, default=BatchStatus.VALIDATING)
    # Faults and refusals may quote what was asked.
    errors = EncryptedJSONField(
        default=list, blank=True, help_text="What validation found: code, message, param, line."
    )
    model = models.CharField(max_length=100, blank=True, help_text="As asked by every line: an alias or a snapshot.")
    priority = models.SmallIntegerField(help_text="Of its jobs.")
    max_cost_usd = UsdField(null=True, blank=True, help_text="Lines that could bring it above this are not run.")

    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(help_text="Lines that have not started by then expire.")
    in_progress_at = models.DateTimeField(null=True, blank=True)
    finalizing_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    expired_at = models.DateTimeField(null=True, blank=True)
    cancelling_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    stepped_at = models.DateTimeField(null=True, blank=True, help_text="When it was last worked on.")
    content_erased_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="From then on nobody can read what was said of its lines."
    )

    at_provider = models.BooleanField(
        default=False, help_text="Its lines may be sent through the provider's batch endpoint, at the price of batches."
    )
    at_provider_after = models.DateTimeField(
        null=True, blank=True, help_text="The next lines are sent there after this instant."
    )
    at_provider_lines = models.PositiveIntegerField(
        default=MOST_LINES_AT_PROVIDER,
        help_text="As many at a time; fewer after the provider said that it were too many.",
    )
    answered_at_provider = models.PositiveIntegerField(default=0, help_text="Lines, at the price of batches.")
    saved_usd = UsdField(default=0, help_text="Against the standard price, by what was answered there.")

    # How far each of the passes over it has come.
    read_bytes = models.PositiveBigIntegerField(default=0, help_text="Of the input file, validated.")
    read_lines = models.PositiveIntegerField(default=0, help_text="The same in lines, empty ones counted.")
    written_lines = models.PositiveIntegerField(default=0, help_text="The last line that stands in the output files.")

    total = models.PositiveIntegerField(default=0)
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    expired = models.PositiveIntegerField(default=0)
    cancelled = models.PositiveIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    reasoning_tokens = models.PositiveBigIntegerField(default=0)
    input_usd = UsdField(default=0)
    cached_input_usd = UsdField(default=0)
    output_usd = UsdField(default=0)
    reasoning_usd = UsdField(default=0)
    total_usd = UsdField(default=0)

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "batches"
        indexes: ClassVar = [
            models.Index(fields=["project", "-id"], name="batches_of_a_project"),
            models.Index(
                fields=["stepped_at"],
                condition=Q(status__in=sorted(BATCH_ACTIVE)),
                name="batches_to_be_worked_on",
            ),
            models.Index(
                fields=["project"],
                condition=Q(content_erased_at__isnull=True, status__in=sorted(BATCH_FINAL)),
                name="batches_with_content",
            ),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(status__in=BatchStatus.values), name="batch_status_is_known"),
            models.CheckConstraint(
                condition=Q(total__gte=F("completed") + F("failed") + F("expired") + F("cancelled")),
                name="batch_counts_no_line_twice",
            ),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        """The id as the provider writes one."""
        return f"batch_{self.id.hex}"

    @property
    def has_files(self) -> bool:
        """Whether its output and error files are whole."""
        return self.status in BATCH_FINAL

    @property
    def ended(self) -> int:
        """Lines that need no more work."""
        return self.completed + self.failed + self.expired + self.cancelled


class BatchLine(models.Model):
    """One request of a batch: where it stands in the input file, and the job that it became."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="lines")
    number = models.PositiveIntegerField(help_text="Of its line in the input file, from 1.")
    custom_id = models.CharField(max_length=512)
    position = models.PositiveBigIntegerField(help_text="Of its first byte in the input file.")
    length = models.PositiveIntegerField(help_text="In bytes.")
    status = models.CharField(max_length=10, choices=LineStatus.choices, default=LineStatus.WAITING)
    job = models.OneToOneField(Job, on_delete=models.PROTECT, null=True, blank=True, related_name="batch_line")
    error = EncryptedJSONField(null=True, blank=True, help_text="Why it has no job, or no answer of it.")
    provider_batch = models.ForeignKey(
        "jobs.ProviderBatch", on_delete=models.PROTECT, null=True, blank=True, related_name="lines", db_index=False
    )
    returned = models.PositiveSmallIntegerField(
        default=0, help_text="How often the provider's batch endpoint left it without an answer."
    )

    class Meta:
        ordering = ("batch", "number")
        indexes: ClassVar = [
            models.Index(fields=["batch", "number"], condition=Q(status="waiting"), name="lines_to_be_fed"),
            models.Index(fields=["batch"], condition=Q(status="fed"), name="lines_under_way"),
            models.Index(
                fields=["provider_batch", "number"],
                condition=Q(provider_batch__isnull=False),
                name="lines_at_the_provider",
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["batch", "number"], name="one_request_per_line"),
            models.UniqueConstraint(fields=["batch", "custom_id"], name="custom_ids_are_unique_in_a_batch"),
            models.CheckConstraint(condition=Q(status__in=LineStatus.values), name="line_status_is_known"),
            models.CheckConstraint(
                condition=Q(status="waiting", job__isnull=True)
                | Q(status__in=["fed", "completed"], job__isnull=False)
                | Q(status__in=["failed", "expired", "cancelled"]),
                name="fed_line_has_its_job",
            ),
        ]

    def __str__(self) -> str:
        return f"line {self.number} of {self.batch_id}"
