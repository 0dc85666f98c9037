"""What was learnt of the calls that were made: distributions of their tokens, and how well they said the next ones."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from accounts.models import Organization, Project
from billing.models.fields import UsdField
from jobs.models.jobs import Job


class Unlearnt(models.Model):
    """A job that has its answer, and of which nothing was learnt yet. Written by the statement that ends the job, so
    that none is missed; whoever learns of it deletes the row in the same transaction.
    """

    # Without a constraint, so that a settlement locks and looks up nothing for it. Jobs are never deleted.
    job = models.OneToOneField(
        Job, on_delete=models.CASCADE, primary_key=True, related_name="+", db_constraint=False, editable=False
    )

    class Meta:
        verbose_name_plural = "unlearnt"

    def __str__(self) -> str:
        return f"nothing learnt of {self.job_id}"


class Distribution(models.Model):
    """Tokens that calls of one kind needed, the latest counting most. Derived: dropping it costs time, never truth."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="distributions")
    project = models.ForeignKey(
        Project,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="distributions",
        help_text="Empty: all of the organization.",
    )
    model = models.CharField(max_length=100, help_text="As asked: an alias or a snapshot.")
    reasoning_effort = models.CharField(max_length=40, blank=True, help_text="Empty: none was asked for.")
    prompt_class = models.CharField(max_length=20, blank=True, help_text="Empty: all classes of prompts.")
    calls = models.PositiveBigIntegerField(default=0, help_text="That were learnt of.")
    cut_calls = models.PositiveBigIntegerField(default=0, help_text="Of these, cut off before they had ended.")
    empty_calls = models.PositiveBigIntegerField(default=0, help_text="Of these, paid for without a visible answer.")
    learnt = models.JSONField(help_text="Bins of tokens, and sums, as `jobs.learning.kinds` writes them.")
    learnt_at = models.DateTimeField(help_text="When its latest call had ended.")

    class Meta:
        ordering = ("model", "reasoning_effort", "prompt_class", "project_id")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "model", "reasoning_effort", "prompt_class", "project"],
                nulls_distinct=False,
                name="one_distribution_a_kind",
            )
        ]

    def __str__(self) -> str:
        effort = self.reasoning_effort or "no effort asked for"
        return f"{self.model}, {effort}, {self.prompt_class or 'all prompts'}"


class Calibration(models.Model):
    """What jobs of a month were expected to come to when they were submitted, and what they came to. Derived.

    A share of tokens is judged by the jobs whose cap is no smaller than it: of the others nobody can see it.
    """

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="calibrations")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="calibrations")
    model = models.CharField(max_length=100, help_text="As asked: an alias or a snapshot.")
    month = models.DateField(help_text="First day of the UTC month in which the jobs ended.")
    jobs = models.PositiveBigIntegerField(default=0, help_text="For which something was expected.")
    p50_judged = models.PositiveBigIntegerField(default=0)
    p50_within = models.PositiveBigIntegerField(default=0)
    p90_judged = models.PositiveBigIntegerField(default=0)
    p90_within = models.PositiveBigIntegerField(default=0)
    p99_judged = models.PositiveBigIntegerField(default=0)
    p99_within = models.PositiveBigIntegerField(default=0)
    expected_usd = UsdField(default=0)
    actual_usd = UsdField(default=0)
    expected_empty = models.DecimalField(max_digits=20, decimal_places=6, default=0, help_text="Jobs.")
    actual_empty = models.PositiveBigIntegerField(default=0, help_text="Jobs whose reasoning took all of the cap.")

    class Meta:
        ordering = ("-month", "project_id", "model")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "month", "project", "model"], name="one_calibration_each"),
            models.CheckConstraint(
                condition=Q(p50_within__lte=F("p50_judged"))
                & Q(p90_within__lte=F("p90_judged"))
                & Q(p99_within__lte=F("p99_judged")),
                name="calibration_within_what_was_judged",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} in {self.month:%Y-%m}"
