"""Their table stays; `accounts` has the model of it from now on."""

from typing import ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar = [("jobs", "0009_breakers"), ("accounts", "0009_idempotency_records")]

    operations: ClassVar = [
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("IdempotencyRecord")])
    ]
