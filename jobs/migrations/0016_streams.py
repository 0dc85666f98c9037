"""Which jobs have a client that reads along."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("jobs", "0015_batches")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="job",
            name="wants_stream",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                help_text="Its client reads the answer while it is made.",
            ),
        ),
    ]
