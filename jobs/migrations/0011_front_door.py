import django.db.models.deletion
from django.db import migrations, models

from accounts.models.encrypted import EncryptedJSONField


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_idempotency_records"),
        ("jobs", "0010_idempotency_records_move"),
    ]

    operations = [
        migrations.AddField(
            model_name="jobcontent",
            name="rest",
            field=EncryptedJSONField(
                blank=True,
                help_text="What else the provider's answer had: further choices and so on.",
                null=True,
            ),
        ),
        migrations.CreateModel(
            name="Undelivered",
            fields=[
                (
                    "job",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="jobs.job",
                    ),
                ),
                ("fingerprint", models.CharField(help_text="SHA-256 of method, path and body.", max_length=64)),
                (
                    "waiter",
                    models.UUIDField(help_text="The connection that waits for it; empty: that has ended.", null=True),
                ),
                (
                    "waiter_seen_at",
                    models.DateTimeField(help_text="When its web process last said that it still waits."),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "api_key",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.apikey",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "undelivered answers",
                "indexes": [
                    models.Index(fields=["api_key", "fingerprint"], name="undelivered_of_a_request"),
                    models.Index(fields=["created_at"], name="undelivered_by_age"),
                ],
            },
        ),
    ]
