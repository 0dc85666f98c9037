from django.db import migrations

from accounts.models.encrypted import EncryptedJSONField


class Migration(migrations.Migration):
    dependencies = [("jobs", "0011_front_door")]

    operations = [
        migrations.AddField(
            model_name="jobcontent",
            name="asked",
            field=EncryptedJSONField(
                blank=True, help_text="What the request said that is no part of the body for the provider.", null=True
            ),
        ),
    ]
