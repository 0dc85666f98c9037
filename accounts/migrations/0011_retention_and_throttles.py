"""How long a project keeps prompts and answers, and how many requests a key may send."""

from typing import ClassVar

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("accounts", "0010_answers_are_encrypted"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="apikey",
            name="requests_per_minute",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Requests that it may send, and no more than the deployment's "
                "BURSAR_KEY_REQUESTS_PER_MINUTE unless its operators set it. Empty: as many as that.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="content_retention_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Prompts and answers are erased so many days after a job has ended. 0: a minute after the "
                "answer was fetched, or an hour after its end if nobody fetches it, and the provider is not asked to "
                "keep it either. "
                "Empty: they are kept.",
                null=True,
                validators=[django.core.validators.MaxValueValidator(3650)],
                verbose_name="days that content is kept",
            ),
        ),
    ]
