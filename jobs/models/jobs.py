"""Jobs and, apart from them so that it can be erased, their content."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Func, Q
from uuid_utils.compat import uuid7

from accounts.models import ApiKey, Organization, Project, User
from accounts.models.encrypted import EncryptedJSONField
from billing.models import ServiceTier
from billing.models.fields import UsdField
from jobs.advice.advice import Advice
from jobs.models.queues import Queue
from jobs.states import JobStatus

# A job goes before those of one priority less that were queued up to this long before it. So nothing that is queued
# later than this, times the steps between their priorities, ever overtakes a job: no job waits for ever.
PRIORITY_STEP_SECONDS = 600


# The instant by which jobs of a queue are put in order; reckoned in UTC, since no column may depend on a time zone.
_ORDER = Func(
    F("queued_at"),
    F("priority"),
    template=f"((%(expressions)s * interval '{PRIORITY_STEP_SECONDS} seconds') AT TIME ZONE 'UTC')",
    arg_joiner=" AT TIME ZONE 'UTC' - ",
    output_field=models.DateTimeField(),
)


class Job(models.Model):
    """One request for one answer. Holds what accounting and scheduling need, and no content."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="jobs")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="jobs")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="jobs")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="jobs")
    # No index of its own: it would hold finished jobs as well, and mislead the planner.
    queue = models.ForeignKey(Queue, on_delete=models.PROTECT, related_name="jobs", db_index=False)
    status = models.CharField(max_length=10, choices=JobStatus.choices, default=JobStatus.QUEUED)

    model = models.CharField(max_length=100, help_text="As asked: an alias or a snapshot.")
    service_tier = models.CharField(max_length=10, choices=ServiceTier.choices, default=ServiceTier.STANDARD)
    priority = models.SmallIntegerField(
        default=0, help_text="Higher goes first within the project, by ten minutes of waiting."
    )
    metadata = models.JSONField(default=dict, blank=True)
    max_cost_usd = UsdField(null=True, blank=True)
    deadline = models.DateTimeField(null=True, blank=True, help_text="Not to be started after this instant.")
    wants_stream = models.BooleanField(
        default=False, db_default=False, editable=False, help_text="Its client reads the answer while it is made."
    )

    bound_input_tokens = models.PositiveBigIntegerField(help_text="The prompt has no more tokens than this.")
    bound_output_tokens = models.PositiveBigIntegerField(
        help_text="The answer and its reasoning have no more than this."
    )
    bound_usd = UsdField(help_text="One call costs no more than this.")
    admission_tokens = models.PositiveBigIntegerField(
        help_text="Tokens that the provider's rate limit counts for one call."
    )

    reasoning_effort = models.CharField(
        max_length=40, blank=True, db_default="", editable=False, help_text="As asked; empty where it was not."
    )
    prompt_class = models.CharField(
        max_length=20, blank=True, db_default="", editable=False, help_text="Kind of work and size; empty: not known."
    )
    expected_p50_tokens = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="Half of the calls like it needed no more, at submission."
    )
    expected_p90_tokens = models.PositiveIntegerField(null=True, blank=True, editable=False)
    expected_p99_tokens = models.PositiveIntegerField(null=True, blank=True, editable=False)
    expected_usd = UsdField(null=True, blank=True, editable=False, help_text="What a call like it costs on average.")
    expected_empty = models.DecimalField(
        max_digits=7,
        decimal_places=6,
        null=True,
        blank=True,
        editable=False,
        help_text="How probable it was at submission that reasoning takes all of the cap.",
    )

    run_after = models.DateTimeField(null=True, blank=True, help_text="Not in line before this instant.")
    waiting_on = models.JSONField(
        null=True, blank=True, help_text="What it waits for itself, and not with its whole queue."
    )
    attempt_count = models.PositiveIntegerField(default=0)
    queued_at = models.DateTimeField()
    order_at = models.GeneratedField(
        expression=_ORDER,
        output_field=models.DateTimeField(),
        db_persist=True,
        help_text="Jobs of a queue start in this order: when they were queued, and earlier by their priority.",
    )
    started_at = models.DateTimeField(null=True, blank=True, help_text="When its latest call began.")
    cancel_asked_at = models.DateTimeField(
        null=True, blank=True, help_text="When its owner wanted it stopped; the provider is told so until it is."
    )
    finished_at = models.DateTimeField(null=True, blank=True)
    content_erased_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="From then on nobody can read what was asked and answered."
    )

    snapshot = models.CharField(max_length=100, blank=True)
    usage = models.JSONField(null=True, blank=True, help_text="In the provider's own shape.")
    finish_reason = models.CharField(max_length=30, blank=True)
    is_empty = models.BooleanField(default=False, help_text="Paid for, and no visible answer came.")
    input_usd = UsdField(null=True, blank=True)
    cached_input_usd = UsdField(null=True, blank=True)
    output_usd = UsdField(null=True, blank=True)
    reasoning_usd = UsdField(null=True, blank=True)
    total_usd = UsdField(null=True, blank=True)
    is_refused = models.BooleanField(
        default=False, db_default=False, help_text="Paid for, and the model declined to answer, or a filter cut it off."
    )
    read_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When its answer was first handed out to anybody."
    )
    prompt_prefix = models.UUIDField(
        null=True,
        blank=True,
        editable=False,
        help_text="Keyed hash of the prompt's first 1,024 tokens; empty where it has fewer.",
    )
    error = models.JSONField(null=True, blank=True, help_text="Why it failed: status, code, type, param and message.")

    # On its prompt, from the submission that made it; no column.
    advice: tuple[Advice, ...] = ()

    class Meta:
        ordering = ("-id",)
        indexes: ClassVar = [
            models.Index(
                fields=["queue", "order_at", "id"],
                condition=Q(status="queued", run_after__isnull=True),
                name="jobs_in_line",
            ),
            models.Index(
                fields=["run_after"],
                condition=Q(status="queued", run_after__isnull=False),
                name="jobs_that_pause",
            ),
            models.Index(
                fields=["deadline"],
                condition=Q(status="queued", deadline__isnull=False),
                name="jobs_with_a_deadline",
            ),
            models.Index(fields=["project", "-id"], name="jobs_of_a_project"),
            models.Index(
                fields=["project", "finished_at"],
                condition=Q(finished_at__isnull=False, content_erased_at__isnull=True),
                name="jobs_with_content",
            ),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(status__in=JobStatus.values), name="job_status_is_known"),
            models.CheckConstraint(condition=Q(bound_usd__gte=0), name="job_bound_is_not_negative"),
            models.CheckConstraint(
                condition=Q(total_usd__isnull=True)
                | Q(total_usd=F("input_usd") + F("cached_input_usd") + F("output_usd") + F("reasoning_usd")),
                name="job_cost_parts_sum_to_the_total",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["queued", "running", "in_doubt"], finished_at__isnull=True)
                | Q(status__in=["succeeded", "incomplete", "failed", "cancelled"], finished_at__isnull=False),
                name="job_finishes_with_its_final_status",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.id}"


class JobContent(models.Model):
    """What was asked and what was answered, encrypted at rest. Erasing a row leaves the books whole."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True, related_name="content")
    request = EncryptedJSONField(help_text="The body for the provider: model, messages and parameters.")
    message = EncryptedJSONField(null=True, blank=True, help_text="The provider's answer message, whole.")
    rest = EncryptedJSONField(
        null=True,
        blank=True,
        help_text="What else the provider's answer had: further choices and so on.",
    )
    asked = EncryptedJSONField(
        null=True, blank=True, help_text="What the request said that is no part of the body for the provider."
    )
    fetched_at = models.DateTimeField(
        null=True, editable=False, help_text="When the answer was first handed out, where it is not kept longer."
    )

    class Meta:
        verbose_name_plural = "job contents"
        indexes: ClassVar = [
            models.Index(fields=["fetched_at"], condition=Q(fetched_at__isnull=False), name="contents_fetched")
        ]

    def __str__(self) -> str:
        return f"content of {self.job_id}"
