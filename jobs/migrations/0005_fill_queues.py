"""Gives the jobs that exist to the queues of their projects and model families."""

from uuid import uuid5

from django.db import migrations


def fill(apps, schema_editor):
    """The family is the catalogue's by now; a model that has left it is a family of its own."""
    job, queue = apps.get_model("jobs", "Job"), apps.get_model("jobs", "Queue")
    language_model, snapshot = apps.get_model("jobs", "LanguageModel"), apps.get_model("jobs", "ModelSnapshot")
    families = {
        row.name: row.model.rate_limit_family or row.model.name for row in snapshot.objects.select_related("model")
    }
    families |= {row.name: row.rate_limit_family or row.name for row in language_model.objects.all()}
    for project_id, model in job.objects.order_by().values_list("project_id", "model").distinct():
        family = families.get(model, model)
        row, _ = queue.objects.get_or_create(
            project_id=project_id, family=family, defaults={"id": uuid5(project_id, family)}
        )
        job.objects.filter(project_id=project_id, model=model).update(queue=row)


class Migration(migrations.Migration):
    dependencies = [("jobs", "0004_queues")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
