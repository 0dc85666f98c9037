"""Questions about spend over ten thousand usage records, and the same over many: the ratio is what must stay small.

BENCH_USAGE_RECORDS says how many those are; ten million take the server about half an hour to make.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient
from uuid_utils.compat import uuid7

from accounts import api_keys
from accounts.models import Organization, Project, User
from billing import ledger
from billing.clock import database_now
from billing.limits import Owner
from billing.models import LedgerEntry, Price, Reservation, UsageRecord
from billing.periods import month_of
from billing.pricing import Tokens
from billing.rollups import ROLLUPS
from billing.spend import GROUPINGS, lines, rows_between
from tests.benchmarks.generated import generate
from tests.plans import scans_of

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

FEW = 10_000
MANY = int(os.environ.get("BENCH_USAGE_RECORDS", "300000"))
REPEATS = 15
# The tables that grow with the calls.
GROWING = {model._meta.db_table for model in (UsageRecord, Reservation, LedgerEntry, *ROLLUPS)}


@dataclass(frozen=True)
class Answer:
    """How long a question took, the best of some, and how many rows of growing tables were read for it."""

    seconds: float
    rows: int


measured: dict[int, dict[str, Answer]] = {}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("records", [FEW, MANY])
def test_questions_about_spend(records, capsys):
    organizations = generate(records)
    measured[records] = {name: ask(question) for name, question in questions(organizations[0])}
    if records == FEW or FEW not in measured:
        return
    with capsys.disabled():
        print(f"\n{'':<36}{FEW:>12,} records{records:>18,} records")
        for name, many in measured[records].items():
            few = measured[FEW][name]
            print(
                f"{name:<36}{few.seconds * 1000:>9.2f} ms{few.rows:>8,}{many.seconds * 1000:>15.2f} ms{many.rows:>8,}"
                f"   ratio {many.seconds / few.seconds:.2f}"
            )


def ask(question: Callable[[], object]) -> Answer:
    question()
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        question()
        taken.append(time.perf_counter() - started)
    with transaction.atomic():
        rows = sum(scan.rows for scan in scans_of(question) if scan.table in GROWING)
        transaction.set_rollback(True)
    return Answer(min(taken), rows)


def questions(organization: Organization) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each question with its name, of the largest organization and its largest project, for this month."""
    project = Project.objects.filter(organization=organization).earliest("pk")
    month = month_of(database_now())
    for name in GROUPINGS:

        def rows(name: str = name) -> object:
            found = rows_between(month.start.date(), month.end.date(), [name], organization=organization)
            return lines(found, [name])

        yield f"spend of the organization by {name}", rows

    api = APIClient()
    secret = api_keys.issue(project, name="bench", created_by=User.objects.earliest("pk")).secret
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    for grouping in ("", *GROUPINGS, "key,model", "day,model"):
        yield f"GET /spend by {grouping or 'nothing'}", getter(api, f"/api/v1/spend?group_by={grouping}")
    yield "GET /limits", getter(api, "/api/v1/limits")

    admin = Client()
    admin.force_login(User.objects.create_superuser("bench@generated.example", "a password"))
    yield "admin: spend", getter(admin, reverse("admin:organizations"))
    page = reverse("admin:dashboard", args=[organization.pk])
    yield "admin: spend of the organization", getter(admin, page)
    yield "admin: spend of the project", getter(admin, f"{page}?project={project.pk}")
    for model in (UsageRecord, Reservation, LedgerEntry, ROLLUPS[0]):
        name = model._meta.model_name
        listed = reverse(f"admin:billing_{name}_changelist")
        yield f"admin: {name}", getter(admin, listed)
        yield f"admin: {name} of the organization", getter(admin, f"{listed}?organization__id__exact={organization.pk}")
        yield f"admin: {name} of the project", getter(admin, f"{listed}?project__id__exact={project.pk}")
    yield "a hold and its settlement", lambda: settle_one(project)


def getter(client: Client, url: str) -> Callable[[], object]:
    def get() -> None:
        assert client.get(url).status_code == 200

    return get


def settle_one(project: Project) -> None:
    """A call of nobody in particular, from its hold to its settlement."""
    price = Price.objects.filter(model="model-0", service_tier="standard").get()
    owner = Owner(project, project.team_id, model="model-0")
    claim = ledger.Claim(uuid7(), price.output_usd_per_million, 0, 1000, owner, "standard", price)
    with transaction.atomic():
        assert ledger.reserve([claim]) == []
    with transaction.atomic():
        ledger.settle(claim.reference, Tokens(10, 0, 100, 50), snapshot="model-0")
