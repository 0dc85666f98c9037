"""Every job is in a queue, and each queue's line is an index."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0005_fill_queues")]

    operations = [
        migrations.AlterField(
            model_name="job",
            name="queue",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="jobs", to="jobs.queue"
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("run_after__isnull", True), ("status", "queued")),
                fields=["queue", "order_at", "id"],
                name="jobs_in_line",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("run_after__isnull", False), ("status", "queued")),
                fields=["run_after"],
                name="jobs_that_pause",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("deadline__isnull", False), ("status", "queued")),
                fields=["deadline"],
                name="jobs_with_a_deadline",
            ),
        ),
    ]
