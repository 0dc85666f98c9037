"""What is said of the lines of a batch may quote them, and is encrypted at rest."""

from typing import ClassVar

from django.db import migrations

from accounts.encrypting_columns import encrypt_json
from accounts.models.encrypted import EncryptedJSONField


class Migration(migrations.Migration):
    atomic = False  # rows are encrypted in batches

    dependencies: ClassVar = [("jobs", "0016_streams")]

    operations: ClassVar = [
        encrypt_json(
            "batch",
            "jobs_batch",
            "id",
            "errors",
            EncryptedJSONField(
                default=list, blank=True, help_text="What validation found: code, message, param, line."
            ),
            required=True,
        ),
    ]
