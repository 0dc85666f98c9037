"""Answers that are kept for repeated requests may repeat what a model said."""

from typing import ClassVar

from django.db import migrations

from accounts.encrypting_columns import encrypt_json
from accounts.models.encrypted import EncryptedJSONField


class Migration(migrations.Migration):
    atomic = False  # rows are encrypted in batches

    dependencies: ClassVar = [("accounts", "0009_idempotency_records"), ("jobs", "0010_idempotency_records_move")]

    operations: ClassVar = [
        encrypt_json(
            "idempotencyrecord",
            "jobs_idempotencyrecord",
            "id",
            "response_body",
            EncryptedJSONField(null=True, help_text="An answer may repeat what a model said."),
            required=False,
        )
    ]
