"""How far off forecasts are on synthetic use, what the sweep of all limits costs, and what a request pays for them."""

import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest

from accounts.models import Organization, Project
from billing import watching
from billing.budgets import limits_of, open_accounts
from billing.clock import database_now
from billing.limits import BudgetState, Owner
from billing.models import Budget, DayRollup, Measure, Quota
from billing.models.rollups import TOTALS
from billing.outlook.histories import outlooks
from tests.billing import traffic

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db]

TRIALS = 1000
PROJECTS, QUOTAS = 500, 4


def test_how_far_off(capsys):
    with capsys.disabled():
        print(f"\n{TRIALS} trials each: median error of the instant; range that should cover 0.80, reached and all")
        for window in traffic.WINDOWS:
            for kind in traffic.KINDS:
                found = traffic.trials(kind, window, TRIALS)
                reached = traffic.reached(found)
                print(
                    f"{window:<8}{kind:<10}{traffic.median_error(found):>8.1f} h"
                    f"{traffic.coverage(reached):>8.2f}{traffic.coverage(found):>8.2f}{len(reached):>8} reached",
                    flush=True,
                )


def test_what_a_sweep_costs(capsys, organization: Organization):
    """The queries of budgets alone, as any sweep has them; the first sweep of a day; those after it."""
    limits = make_limits(organization)
    watching._paces.forget()
    with capsys.disabled():
        print(f"\n{Budget.objects.count():,} budgets with 28 days of history each")
        print(f"reading the budgets          {timed(read_budgets):>10.0f} ms")
        print(f"the first sweep of a day     {timed(watching.foresee):>10.0f} ms")
        print(f"each sweep after it          {statistics.median(timed(watching.foresee) for _ in range(5)):>10.0f} ms")
        for count in (6, 100):
            some = [BudgetState(limit, Decimal(5), Decimal(0)) for limit in limits[:count]]
            now = database_now()
            taken = statistics.median(timed(lambda s=some, n=now: outlooks(s, n)) for _ in range(20))
            print(f"a request for {count:>3} limits      {taken:>10.1f} ms", flush=True)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def read_budgets() -> int:
    now = database_now()
    rows = Budget.objects.filter(window_start__lte=now, window_end__gt=now, spent__gt=0)
    return len(list(rows.select_related(*watching.WITH_OWNER)))


def make_limits(organization: Organization) -> list:
    """Projects with quotas of several measures, each used by a dollar and a call a day, and none about to be full."""
    today, zeros = database_now().date(), dict.fromkeys(TOTALS, 0)
    projects = Project.objects.bulk_create(
        Project(organization=organization, name=f"p{number}", slug=f"p{number}") for number in range(PROJECTS)
    )
    DayRollup.objects.bulk_create(
        DayRollup(
            organization=organization,
            project=project,
            day=today - timedelta(days=ago),
            **{**zeros, "calls": 1, "total_usd": Decimal(1) + number % 3, "output_tokens": 100},
        )
        for number, project in enumerate(projects)
        for ago in range(1, 36)
    )
    measures = (Measure.USD, Measure.JOBS, Measure.OUTPUT_TOKENS, Measure.TOKENS)
    Quota.objects.bulk_create(
        Quota(organization=organization, scope="project", project=project, measure=measure, limit=100_000)
        for project in projects
        for measure in measures[:QUOTAS]
    )
    now = database_now()
    found = {limit.key: limit for project in projects for limit in limits_of(Owner(project), now)}
    open_accounts(found.values())
    Budget.objects.update(spent=5)
    return list(found.values())
