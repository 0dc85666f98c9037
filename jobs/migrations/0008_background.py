"""Calls that are made in the background, and looked at until they have ended."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def choose(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Models that reason may think for minutes, and go to the background where they have the endpoint for it.

    It is meant for o3, o1-pro, gpt-5 and later (OpenAI background guide, 2025 and 2026). Those that do not reason
    answer within seconds and stay with chat.
    """
    models_there = apps.get_model("jobs", "LanguageModel").objects
    models_there.filter(is_reasoning=True, endpoints__contains=["responses"]).update(transport="background")


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0007_doubts"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="attempt",
            name="one_open_attempt_per_job",
        ),
        migrations.RemoveConstraint(
            model_name="attempt",
            name="attempt_status_is_known",
        ),
        migrations.RemoveConstraint(
            model_name="attempt",
            name="attempt_that_called_says_when",
        ),
        migrations.AddField(
            model_name="attempt",
            name="look_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When the provider is asked next how far it is; empty: it is not asked.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="cancel_asked_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When its owner wanted it stopped; the provider is told so until it is.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="languagemodel",
            name="transport",
            field=models.CharField(
                choices=[("chat", "Chat"), ("background", "Background")],
                default="chat",
                help_text="How its calls are made. In the background a crash loses nothing; "
                "that needs the endpoint responses.",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="attempt",
            name="status",
            field=models.CharField(
                choices=[
                    ("created", "Created"),
                    ("calling", "Calling"),
                    ("accepted", "Accepted"),
                    ("answered", "Answered"),
                    ("rejected", "Rejected"),
                    ("abandoned", "Abandoned"),
                    ("in_doubt", "In Doubt"),
                    ("resolved", "Resolved"),
                ],
                default="created",
                max_length=10,
            ),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(
                condition=models.Q(("look_at__isnull", False), ("status__in", ["accepted", "in_doubt"])),
                fields=["look_at"],
                name="attempts_to_be_looked_at",
            ),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(
                condition=models.Q(("status__in", ["accepted", "in_doubt"])),
                fields=["provider_response_id"],
                name="attempts_at_the_provider",
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ["created", "calling", "accepted", "in_doubt"])),
                fields=("job",),
                name="one_open_attempt_per_job",
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        ["created", "calling", "accepted", "answered", "rejected", "abandoned", "in_doubt", "resolved"],
                    )
                ),
                name="attempt_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("calling_at__isnull", True), ("status__in", ["created", "abandoned"])),
                    models.Q(
                        ("calling_at__isnull", False),
                        ("status__in", ["calling", "accepted", "answered", "rejected", "in_doubt", "resolved"]),
                    ),
                    _connector="OR",
                ),
                name="attempt_that_called_says_when",
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "accepted"), _negated=True),
                    models.Q(("provider_response_id", ""), _negated=True),
                    _connector="OR",
                ),
                name="accepted_attempt_has_its_id",
            ),
        ),
        migrations.AddConstraint(
            model_name="languagemodel",
            constraint=models.CheckConstraint(
                condition=models.Q(("transport__in", ["chat", "background"])), name="model_transport_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="languagemodel",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("transport", "background"), _negated=True),
                    ("endpoints__contains", ["responses"]),
                    _connector="OR",
                ),
                name="background_needs_responses",
            ),
        ),
        migrations.RunPython(choose, migrations.RunPython.noop),
    ]
