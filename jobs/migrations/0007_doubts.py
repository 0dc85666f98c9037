"""Doubts, the watch over the workers, and which attempts can be found at the provider."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import billing.models.fields


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0006_jobs_in_line"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="is_findable",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="The provider was asked to keep its answer, under the attempt's id.",
            ),
        ),
        migrations.AlterField(
            model_name="attempt",
            name="worker",
            field=models.CharField(blank=True, help_text="The process that claimed it.", max_length=100),
        ),
        migrations.AlterField(
            model_name="worker",
            name="name",
            field=models.CharField(
                help_text="Of this one process: started again it has another.",
                max_length=100,
                primary_key=True,
                serialize=False,
            ),
        ),
        migrations.CreateModel(
            name="Watch",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ("since", models.DateTimeField()),
                ("seen_at", models.DateTimeField(help_text="When somebody last listened.")),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="one_watch")],
            },
        ),
        migrations.CreateModel(
            name="Doubt",
            fields=[
                (
                    "attempt",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="doubt",
                        serialize=False,
                        to="jobs.attempt",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("found", "Found"),
                            ("answered", "Answered"),
                            ("refused", "Refused"),
                            ("presumed_spent", "Presumed Spent"),
                            ("rerun", "Rerun"),
                            ("released", "Released"),
                        ],
                        default="open",
                        max_length=20,
                    ),
                ),
                ("opened_at", models.DateTimeField()),
                (
                    "looks",
                    models.PositiveIntegerField(
                        default=0, help_text="How often the answer was looked for at the provider."
                    ),
                ),
                ("looked_at", models.DateTimeField(blank=True, null=True)),
                ("last_look", models.CharField(blank=True, help_text="What the last look came to.", max_length=300)),
                (
                    "was_missed",
                    models.BooleanField(
                        default=False, help_text="The last look was answered, and the provider did not have it."
                    ),
                ),
                (
                    "next_look_at",
                    models.DateTimeField(
                        blank=True, help_text="Empty: it cannot be looked up, or nobody needs to any more.", null=True
                    ),
                ),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                ("reason", models.CharField(blank=True, max_length=500)),
                (
                    "corrected_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="When the truth was learnt after the doubt had been decided otherwise.",
                        null=True,
                    ),
                ),
                (
                    "corrected_usd",
                    billing.models.fields.UsdField(
                        blank=True,
                        decimal_places=12,
                        help_text="By how much that moved the spend.",
                        max_digits=24,
                        null=True,
                    ),
                ),
                (
                    "actor",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("-attempt_id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "open")), fields=["next_look_at"], name="doubts_to_be_looked_up"
                    ),
                    models.Index(
                        condition=models.Q(("status", "open")), fields=["opened_at"], name="doubts_that_are_open"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "status__in",
                                ["open", "found", "answered", "refused", "presumed_spent", "rerun", "released"],
                            )
                        ),
                        name="doubt_status_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("resolved_at__isnull", True), ("status", "open")),
                            models.Q(
                                models.Q(("status", "open"), _negated=True),
                                ("next_look_at__isnull", True),
                                ("resolved_at__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="doubt_is_resolved_once_it_is_not_open",
                    ),
                ],
            },
        ),
    ]
