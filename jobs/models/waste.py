"""What was wasted of a project's month: derived, and safe to drop; `jobs.waste` makes it anew."""

from typing import ClassVar

from django.db import models

from accounts.models import Organization, Project
from billing.models.fields import UsdField
from jobs.models.jobs import Job
from jobs.waste.categories import Category


class WasteReport(models.Model):
    """A project's month as it stood when it was made. Wasted, useful and corrections sum to the ledger."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="waste_reports")
    month = models.DateField(help_text="The first of it, UTC.")
    made_at = models.DateTimeField(null=True, blank=True, help_text="Empty: it is being made for the first time.")
    calls = models.PositiveBigIntegerField(default=0)
    ledger_usd = UsdField(default=0, help_text="The sum of the project's ledger entries of the month.")
    corrections_usd = UsdField(default=0, help_text="Part of it that was booked as corrections.")
    useful_usd = UsdField(default=0)
    categories = models.JSONField(default=dict, blank=True, help_text="Dollars and jobs of each category.")
    switches = models.JSONField(
        default=list, blank=True, help_text="Which models could be replaced by which: calls and dollars of each pair."
    )

    class Meta:
        ordering = ("-month", "project")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "month"], name="one_waste_report_a_month"),
        ]

    def __str__(self) -> str:
        return f"waste of {self.project}, {self.month:%Y-%m}"


class WasteLine(models.Model):
    """What of a job's cost is in a category."""

    report = models.ForeignKey(WasteReport, on_delete=models.CASCADE, related_name="lines")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="waste_lines")
    category = models.CharField(max_length=12, choices=Category.choices)
    usd = UsdField()

    class Meta:
        ordering = ("report", "category", "-usd")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["report", "category", "job"], name="one_waste_line_a_job"),
            models.CheckConstraint(condition=models.Q(usd__gt=0), name="waste_is_above_nothing"),
        ]

    def __str__(self) -> str:
        return f"{self.category} of {self.job_id}"
