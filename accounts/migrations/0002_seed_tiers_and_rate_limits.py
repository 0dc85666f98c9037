from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from accounts import seeds


def add_rows(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    seeds.seed(apps)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    # Going back leaves the rows: people may have added their own beside them.
    operations = [migrations.RunPython(add_rows, migrations.RunPython.noop)]
