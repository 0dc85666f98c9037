"""Comparisons and their runs."""

from typing import ClassVar

import django.db.models.deletion
import uuid_utils.compat
from django.db import migrations, models

import accounts.models.encrypted
import billing.models.fields


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("accounts", "0012_may_batch_at_provider"),
        ("jobs", "0023_waste"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Comparison",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=200)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("cancelling", "Cancelling"),
                            ("completed", "Completed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="running",
                        max_length=10,
                    ),
                ),
                (
                    "max_cost_usd",
                    billing.models.fields.UsdField(
                        decimal_places=12, help_text="Runs that could bring it above this are not run.", max_digits=24
                    ),
                ),
                ("times", models.PositiveSmallIntegerField(help_text="How often each prompt is run on each variant.")),
                (
                    "baseline",
                    models.PositiveSmallIntegerField(help_text="The number of the variant that savings are against."),
                ),
                ("priority", models.SmallIntegerField(help_text="Of its jobs.")),
                ("prompt_names", models.JSONField(help_text="In their order.")),
                ("variants", models.JSONField(help_text="In their order: name, model, service tier, effort and cap.")),
                (
                    "content",
                    accounts.models.encrypted.EncryptedJSONField(
                        blank=True,
                        editable=False,
                        help_text="The messages of the prompts; wording and parameters of the variants.",
                        null=True,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("stepped_at", models.DateTimeField(blank=True, help_text="When it was last worked on.", null=True)),
                (
                    "content_erased_at",
                    models.DateTimeField(
                        blank=True, editable=False, help_text="From then on nobody can read what was asked.", null=True
                    ),
                ),
                (
                    "api_key",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="comparisons",
                        to="accounts.apikey",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="comparisons", to="accounts.project"
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="ComparisonRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField(help_text="In the order in which runs become jobs, from 1.")),
                ("prompt", models.PositiveSmallIntegerField(help_text="The number of its prompt, from 1.")),
                ("variant", models.PositiveSmallIntegerField(help_text="The number of its variant, from 1.")),
                (
                    "round",
                    models.PositiveSmallIntegerField(
                        help_text="From 1: every prompt is on every variant once before any twice."
                    ),
                ),
                (
                    "bound_usd",
                    billing.models.fields.UsdField(
                        decimal_places=12,
                        help_text="One call of it costs no more than this, as the comparison was made.",
                        max_digits=24,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("waiting", "Waiting"), ("fed", "Fed"), ("ended", "Ended"), ("not_run", "Not Run")],
                        default="waiting",
                        max_length=10,
                    ),
                ),
                (
                    "reason",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("ceiling_reached", "Ceiling"),
                            ("cancelled", "Cancelled"),
                            ("invalid_api_key", "Key Over"),
                            ("refused", "Refused"),
                        ],
                        help_text="Why it was not run.",
                        max_length=20,
                    ),
                ),
                (
                    "figures",
                    models.JSONField(blank=True, help_text="What the reason is by: amounts as texts.", null=True),
                ),
                (
                    "error",
                    accounts.models.encrypted.EncryptedJSONField(
                        blank=True, editable=False, help_text="In which words it was refused.", null=True
                    ),
                ),
                (
                    "comparison",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="runs", to="jobs.comparison"
                    ),
                ),
                (
                    "job",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="comparison_run",
                        to="jobs.job",
                    ),
                ),
            ],
            options={
                "ordering": ("comparison", "number"),
            },
        ),
        migrations.AddIndex(
            model_name="comparison",
            index=models.Index(fields=["project", "-id"], name="comparisons_of_a_project"),
        ),
        migrations.AddIndex(
            model_name="comparison",
            index=models.Index(
                condition=models.Q(("status__in", ["cancelling", "running"])),
                fields=["stepped_at"],
                name="comparisons_to_be_worked_on",
            ),
        ),
        migrations.AddIndex(
            model_name="comparison",
            index=models.Index(
                condition=models.Q(("content_erased_at__isnull", True), ("finished_at__isnull", False)),
                fields=["project", "finished_at"],
                name="comparisons_with_content",
            ),
        ),
        migrations.AddConstraint(
            model_name="comparison",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["running", "cancelling", "completed", "cancelled"])),
                name="comparison_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="comparison",
            constraint=models.CheckConstraint(
                condition=models.Q(("max_cost_usd__gt", 0)), name="comparison_has_a_ceiling"
            ),
        ),
        migrations.AddConstraint(
            model_name="comparison",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("finished_at__isnull", True), ("status__in", ["cancelling", "running"])),
                    models.Q(("finished_at__isnull", False), ("status__in", ["cancelled", "completed"])),
                    _connector="OR",
                ),
                name="comparison_finishes_with_its_final_status",
            ),
        ),
        migrations.AddIndex(
            model_name="comparisonrun",
            index=models.Index(
                condition=models.Q(("status", "waiting")), fields=["comparison", "number"], name="runs_to_be_fed"
            ),
        ),
        migrations.AddIndex(
            model_name="comparisonrun",
            index=models.Index(condition=models.Q(("status", "fed")), fields=["comparison"], name="runs_under_way"),
        ),
        migrations.AddConstraint(
            model_name="comparisonrun",
            constraint=models.UniqueConstraint(fields=("comparison", "number"), name="runs_are_numbered"),
        ),
        migrations.AddConstraint(
            model_name="comparisonrun",
            constraint=models.UniqueConstraint(
                fields=("comparison", "prompt", "variant", "round"), name="each_run_is_there_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="comparisonrun",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["waiting", "fed", "ended", "not_run"])), name="run_status_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="comparisonrun",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("job__isnull", True), ("reason", ""), ("status", "waiting")),
                    models.Q(("job__isnull", False), ("reason", ""), ("status__in", ["fed", "ended"])),
                    models.Q(("job__isnull", True), ("status", "not_run"), models.Q(("reason", ""), _negated=True)),
                    _connector="OR",
                ),
                name="run_has_its_job_or_a_reason",
            ),
        ),
    ]
