"""What was said of the lines of a batch is erased with its project's content."""

from typing import ClassVar

from django.db import migrations, models
from django.db.models import Q

from accounts.models.encrypted import SealedBytesField


class Migration(migrations.Migration):
    dependencies: ClassVar = [("jobs", "0018_line_errors_are_encrypted")]

    operations: ClassVar = [
        migrations.AddField(
            "batch",
            "content_erased_at",
            models.DateTimeField(
                blank=True,
                editable=False,
                null=True,
                help_text="From then on nobody can read what was said of its lines.",
            ),
        ),
        # The column is what it was; its name says that it is written anew when keys change.
        migrations.AlterField("filechunk", "data", SealedBytesField()),
        migrations.AddIndex(
            "batch",
            models.Index(
                fields=["project"],
                condition=Q(content_erased_at__isnull=True, status__in=["cancelled", "completed", "expired", "failed"]),
                name="batches_with_content",
            ),
        ),
    ]
