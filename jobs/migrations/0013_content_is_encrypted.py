"""What was asked and what was answered is encrypted at rest."""

from typing import ClassVar

from django.db import migrations

from accounts.encrypting_columns import encrypt_json
from accounts.models.encrypted import EncryptedJSONField


class Migration(migrations.Migration):
    atomic = False  # rows are encrypted in batches

    dependencies: ClassVar = [("jobs", "0012_how_it_was_asked")]

    operations: ClassVar = [
        encrypt_json(
            "jobcontent",
            "jobs_jobcontent",
            "job_id",
            "request",
            EncryptedJSONField(help_text="The body for the provider: model, messages and parameters."),
            required=True,
        ),
        encrypt_json(
            "jobcontent",
            "jobs_jobcontent",
            "job_id",
            "message",
            EncryptedJSONField(null=True, blank=True, help_text="The provider's answer message, whole."),
            required=False,
        ),
    ]
