"""Idempotency records serve every route: the table of `jobs` stays as it is, and belongs to `accounts` from now on."""

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("accounts", "0008_sealed_audit")]

    operations: ClassVar = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="IdempotencyRecord",
                    fields=[
                        (
                            "id",
                            models.BigAutoField(
                                auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                            ),
                        ),
                        ("key", models.CharField(max_length=255)),
                        (
                            "fingerprint",
                            models.CharField(help_text="SHA-256 of method, path and body.", max_length=64),
                        ),
                        ("response_status", models.PositiveSmallIntegerField(null=True)),
                        ("response_body", models.JSONField(null=True)),
                        ("created_at", models.DateTimeField()),
                        (
                            "project",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.project"
                            ),
                        ),
                    ],
                    options={
                        "db_table": "jobs_idempotencyrecord",
                        "indexes": [models.Index(fields=["created_at"], name="jobs_idempo_created_ce46f4_idx")],
                        "constraints": [
                            models.UniqueConstraint(fields=("project", "key"), name="one_answer_per_idempotency_key")
                        ],
                    },
                )
            ]
        )
    ]
