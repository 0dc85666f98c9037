"""When content was erased, and what is to be."""

from typing import ClassVar

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("accounts", "0011_retention_and_throttles"),
        ("jobs", "0013_content_is_encrypted"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="job",
            name="content_erased_at",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="From then on nobody can read what was asked and answered.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="jobcontent",
            name="fetched_at",
            field=models.DateTimeField(
                editable=False,
                help_text="When the answer was first handed out, where it is not kept longer.",
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("content_erased_at__isnull", True), ("finished_at__isnull", False)),
                fields=["project", "finished_at"],
                name="jobs_with_content",
            ),
        ),
        migrations.AddIndex(
            model_name="jobcontent",
            index=models.Index(
                condition=models.Q(("fetched_at__isnull", False)), fields=["fetched_at"], name="contents_fetched"
            ),
        ),
    ]
