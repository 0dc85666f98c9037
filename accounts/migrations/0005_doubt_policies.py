"""What becomes of lost answers, by project, and which endpoints keep answers."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_project_rate_limits"),
    ]

    operations = [
        migrations.AddField(
            model_name="project",
            name="doubt_patience_hours",
            field=models.PositiveIntegerField(
                db_default=24,
                default=24,
                help_text="The provider keeps answers for thirty days.",
                validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(720)],
                verbose_name="hours until then",
            ),
        ),
        migrations.AddField(
            model_name="project",
            name="doubt_policy",
            field=models.CharField(
                choices=[
                    ("hold", "keep holding its worst case until a person decides"),
                    ("presume_spent", "book its worst case as spent; the job has failed"),
                    ("rerun", "book its worst case as spent and run the job once more, which may pay twice"),
                ],
                db_default="hold",
                default="hold",
                help_text="What becomes of a call whose answer was lost and is not found at the provider in time.",
                max_length=20,
                verbose_name="lost answers",
            ),
        ),
        migrations.AddField(
            model_name="providercredential",
            name="keeps_answers",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="The endpoint may be asked to keep answers (store), so that a lost one can be looked up. "
                "Not under zero data retention, and not where the endpoint does not know the parameter.",
            ),
        ),
        migrations.AddConstraint(
            model_name="project",
            constraint=models.CheckConstraint(
                condition=models.Q(("doubt_policy__in", ["hold", "presume_spent", "rerun"])),
                name="project_doubt_policy_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="project",
            constraint=models.CheckConstraint(
                condition=models.Q(("doubt_patience_hours__gte", 1)), name="project_is_patient"
            ),
        ),
    ]
