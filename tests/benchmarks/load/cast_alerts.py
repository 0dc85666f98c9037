"""What the benchmark of alerts needs in the database: an endpoint, limits to cross, messages to deliver.

Reads its order from the command line, and prints nothing but `{}`.
"""

import json
import sys
from decimal import Decimal
from typing import Any

import django


def carry_out(order: dict[str, Any]) -> None:
    from django.db import transaction

    from accounts.audit import SERVICE
    from accounts.models import Project
    from billing.alerts import News, raise_alert
    from billing.models import AlertKind, Measure, Quota
    from billing.webhooks import endpoints

    project = Project.objects.select_related("organization").get(slug="load-0")  # whose jobs are sent
    endpoints.create(project.organization, order["url"], by=SERVICE)
    Quota.objects.bulk_create(
        Quota(
            organization=project.organization,
            project=project,
            measure=Measure.JOBS,
            limit=Decimal(order["jobs"] * number // order["limits"]),
            is_hard=False,
        )
        for number in range(1, order["limits"] + 1)
    )
    with transaction.atomic():
        for number in range(order["events"]):
            raise_alert(AlertKind.ANOMALY, f"bench {number}", News("Much is spent.", project.organization_id))


if __name__ == "__main__":
    django.setup()
    carry_out(json.loads(sys.argv[1]))
    print("{}")
