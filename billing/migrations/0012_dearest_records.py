from django.db import migrations, models
from django.db.models import F, Func
from django.db.models.functions import Cast

UTC_DAY = Cast(
    Func(F("booked_at"), template="(%(expressions)s AT TIME ZONE 'UTC')", output_field=models.DateTimeField()),
    models.DateField(),
)


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0011_quota_requests"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(F("organization"), UTC_DAY, F("total_usd").desc(), name="dearest_records_of_a_day"),
        ),
    ]
