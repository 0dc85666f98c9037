"""What a batch may cost at most."""

from typing import ClassVar

from django.db import migrations

from billing.models.fields import UsdField


class Migration(migrations.Migration):
    dependencies: ClassVar = [("jobs", "0019_erasure_of_batches")]

    operations: ClassVar = [
        migrations.AddField(
            "batch",
            "max_cost_usd",
            UsdField(
                blank=True,
                null=True,
                help_text="Lines that could bring it above this are not run.",
            ),
        ),
    ]
