"""What is said of the lines of a batch may quote them, and is encrypted at rest."""

from typing import ClassVar

from django.db import migrations

from accounts.encrypting_columns import encrypt_json
from accounts.models.encrypted import EncryptedJSONField


class Migration(migrations.Migration):
    atomic = False  # rows are encrypted in batches

    dependencies: ClassVar = [("jobs", "0017_batch_errors_are_encrypted")]

    operations: ClassVar = [
        encrypt_json(
            "batchline",
            "jobs_batchline",
            "id",
            "error",
            EncryptedJSONField(null=True, blank=True, help_text="Why it has no job, or no answer of it."),
            required=False,
        ),
    ]
