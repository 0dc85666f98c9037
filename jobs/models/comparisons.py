"""Comparisons and their runs. What was asked stands encrypted; figures, names and settings do not."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from accounts.models import ApiKey, Project
from accounts.models.encrypted import EncryptedJSONField
from billing.models.fields import UsdField
from jobs.comparisons.states import COMPARISON_ACTIVE, COMPARISON_FINAL, ComparisonStatus, NotRun, RunStatus
from jobs.models.jobs import Job


class Comparison(models.Model):
    """Prompts and variants, each prompt on each variant so many times. What came of it is read from the jobs."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="comparisons")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="comparisons")
    name = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=10, choices=ComparisonStatus.choices, default=ComparisonStatus.RUNNING)
    max_cost_usd = UsdField(help_text="Runs that could bring it above this are not run.")
    times = models.PositiveSmallIntegerField(help_text="How often each prompt is run on each variant.")
    baseline = models.PositiveSmallIntegerField(help_text="The number of the variant that savings are against.")
    priority = models.SmallIntegerField(help_text="Of its jobs.")
    # Names are labels, as metadata of jobs are.
    prompt_names = models.JSONField(help_text="In their order.")
    variants = models.JSONField(help_text="In their order: name, model, service tier, effort and cap.")
    content = EncryptedJSONField(
        null=True, blank=True, help_text="The messages of the prompts; wording and parameters of the variants."
    )
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    stepped_at = models.DateTimeField(null=True, blank=True, help_text="When it was last worked on.")
    content_erased_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="From then on nobody can read what was asked."
    )

    class Meta:
        ordering = ("-id",)
        indexes: ClassVar = [
            models.Index(fields=["project", "-id"], name="comparisons_of_a_project"),
            models.Index(
                fields=["stepped_at"],
                condition=Q(status__in=sorted(COMPARISON_ACTIVE)),
                name="comparisons_to_be_worked_on",
            ),
            models.Index(
                fields=["project", "finished_at"],
                condition=Q(content_erased_at__isnull=True, finished_at__isnull=False),
                name="comparisons_with_content",
            ),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(status__in=ComparisonStatus.values), name="comparison_status_is_known"),
            models.CheckConstraint(condition=Q(max_cost_usd__gt=0), name="comparison_has_a_ceiling"),
            models.CheckConstraint(
                condition=Q(status__in=sorted(COMPARISON_ACTIVE), finished_at__isnull=True)
                | Q(status__in=sorted(COMPARISON_FINAL), finished_at__isnull=False),
                name="comparison_finishes_with_its_final_status",
            ),
        ]

    def __str__(self) -> str:
        return self.name or f"comparison {self.id}"

    @property
    def has_ended(self) -> bool:
        return self.status in COMPARISON_FINAL


class ComparisonRun(models.Model):
    """One prompt on one variant, once: the job that it became, or why it became none."""

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField(help_text="In the order in which runs become jobs, from 1.")
    prompt = models.PositiveSmallIntegerField(help_text="The number of its prompt, from 1.")
    variant = models.PositiveSmallIntegerField(help_text="The number of its variant, from 1.")
    round = models.PositiveSmallIntegerField(
        help_text="From 1: every prompt is on every variant once before any twice."
    )
    bound_usd = UsdField(help_text="One call of it costs no more than this, as the comparison was made.")
    status = models.CharField(max_length=10, choices=RunStatus.choices, default=RunStatus.WAITING)
    job = models.OneToOneField(Job, on_delete=models.PROTECT, null=True, blank=True, related_name="comparison_run")
    reason = models.CharField(max_length=20, choices=NotRun.choices, blank=True, help_text="Why it was not run.")
    figures = models.JSONField(null=True, blank=True, help_text="What the reason is by: amounts as texts.")
    # A refusal may quote what was asked.
    error = EncryptedJSONField(null=True, blank=True, help_text="In which words it was refused.")

    class Meta:
        ordering = ("comparison", "number")
        indexes: ClassVar = [
            models.Index(fields=["comparison", "number"], condition=Q(status="waiting"), name="runs_to_be_fed"),
            models.Index(fields=["comparison"], condition=Q(status="fed"), name="runs_under_way"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["comparison", "number"], name="runs_are_numbered"),
            models.UniqueConstraint(fields=["comparison", "prompt", "variant", "round"], name="each_run_is_there_once"),
            models.CheckConstraint(condition=Q(status__in=RunStatus.values), name="run_status_is_known"),
            models.CheckConstraint(
                condition=Q(status="waiting", job__isnull=True, reason="")
                | Q(status__in=["fed", "ended"], job__isnull=False, reason="")
                | (Q(status="not_run", job__isnull=True) & ~Q(reason="")),
                name="run_has_its_job_or_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.number} of {self.comparison_id}"
