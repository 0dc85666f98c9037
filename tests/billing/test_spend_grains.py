"""The same totals at four grains: each is the sum of the usage records, and the coarsest that can answer is asked."""

from datetime import UTC, date, datetime
from itertools import combinations, product
from typing import Any

import pytest
from django.db.models import Sum

from accounts.models import Organization, Project, Team
from billing import ledger, rollups
from billing.models import (
    DayKeyRollup,
    DayModelRollup,
    DayRollup,
    KeyRollup,
    ModelRollup,
    ProjectRollup,
    SpendRollup,
    UsageRecord,
)
from billing.models.rollups import SUMMED
from billing.rollups import ROLLUPS
from billing.spend import GROUPINGS, lines, rows_between, total
from tests.conftest import make_tenant

SEPTEMBER, OCTOBER, NOVEMBER = date(2024, 9, 1), date(2024, 10, 1), date(2024, 11, 1)
INSTANTS = [
    datetime(2024, 9, 12, 9, tzinfo=UTC),
    datetime(2024, 9, 12, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2024, 9, 13, tzinfo=UTC),
    datetime(2024, 9, 30, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2024, 10, 1, tzinfo=UTC),
]


@pytest.fixture
def organization(book, monkeypatch, owner, api_key) -> Organization:
    """Calls in two months, on days that meet at midnight, of owners of every kind; another organization's beside."""
    home = book.project.organization
    second = Project.objects.create(organization=home, name="Second", slug="second")
    team = Team.objects.create(organization=home, name="Data science")
    of_somebody = {"member_id": owner.pk, "api_key_id": api_key.api_key.pk, "team_id": team.pk}
    for number, instant in enumerate(INSTANTS * 3):
        monkeypatch.setattr(ledger.storage, "now", lambda instant=instant: instant)
        reference = book.hold(
            "1",
            project=book.project if number % 4 else second,
            model="o1-mini" if number % 2 else "o1-preview",
            **(of_somebody if number % 3 else {}),
        )
        book.settle(reference, output=100 * number, reasoning=64 if number else 0, empty=number % 5 == 4)
    book.settle(book.hold("1", project=make_tenant("Carol").project), output=7777)
    monkeypatch.undo()
    return home


def kept(rollup: type[Any]) -> list[dict[str, Any]]:
    rows = rollup.objects.order_by("day", *rollup.OWNER).values()
    return [{name: value for name, value in row.items() if name != "id"} for row in rows]


def test_what_is_made_anew_equals_what_was_kept(organization):
    before = {rollup: kept(rollup) for rollup in ROLLUPS}
    assert rollups.rebuild(organization) == 15
    assert {rollup: kept(rollup) for rollup in ROLLUPS} == before
    for rollup in ROLLUPS:
        rollup.objects.filter(organization=organization).update(total_usd=0)
        rollup.objects.filter(organization=organization)[:1].get().delete()
    assert rollups.rebuild(organization) == 15
    assert {rollup: kept(rollup) for rollup in ROLLUPS} == before


@pytest.mark.parametrize("rollup", ROLLUPS)
def test_every_grain_is_the_sum_of_the_usage_records(organization, rollup):
    records = UsageRecord.objects.filter(organization=organization)
    rows = rollup.objects.filter(organization=organization)
    sums = [Sum(name) for name in SUMMED]
    assert rows.aggregate(*sums) == records.aggregate(*sums)
    counts = rows.aggregate(calls=Sum("calls"), empty=Sum("empty_calls"), empty_usd=Sum("empty_usd"))
    empty = records.filter(is_empty=True)
    assert counts == {"calls": 15, "empty": 3, "empty_usd": empty.aggregate(sum=Sum("total_usd"))["sum"]}
    september = rows.filter(day__gte=SEPTEMBER, day__lt=OCTOBER).aggregate(sum=Sum("calls"))["sum"]
    assert september == 12


def test_every_grouping_answers_as_the_finest_rollup_would(organization):
    of = {"organization": organization}
    of_project = {**of, "project": organization.projects.earliest("pk")}
    groupings = [(), *combinations(GROUPINGS, 1), *combinations(GROUPINGS, 2), tuple(GROUPINGS)]
    for names, end in product(groupings, [OCTOBER, NOVEMBER, date(2024, 9, 13)]):
        finest = SpendRollup.objects.filter(day__gte=SEPTEMBER, day__lt=end, **of)
        assert lines(rows_between(SEPTEMBER, end, names, **of), names) == lines(finest, names), names
        assert total(rows_between(SEPTEMBER, end, names, **of_project)) == total(finest.filter(**of_project)), names


@pytest.mark.parametrize(
    ("names", "start", "end", "filters", "asked"),
    [
        ([], SEPTEMBER, OCTOBER, ["organization"], ProjectRollup),
        (["project", "team"], SEPTEMBER, NOVEMBER, ["organization", "project"], ProjectRollup),
        (["model", "service_tier"], SEPTEMBER, OCTOBER, ["organization_id", "project_id"], ModelRollup),
        (["day"], SEPTEMBER, OCTOBER, ["organization", "project"], DayRollup),
        ([], SEPTEMBER, date(2024, 9, 30), ["organization"], DayRollup),
        (["project"], date(2024, 9, 2), OCTOBER, ["organization"], DayRollup),
        (["member", "key"], SEPTEMBER, OCTOBER, ["organization", "project"], KeyRollup),
        ([], SEPTEMBER, OCTOBER, ["organization", "api_key_id"], KeyRollup),
        (["key", "model"], SEPTEMBER, OCTOBER, ["organization"], SpendRollup),
        (["day", "model"], SEPTEMBER, OCTOBER, ["organization"], DayModelRollup),
        (["day", "project"], SEPTEMBER, OCTOBER, ["organization", "model"], DayModelRollup),
        (["model"], SEPTEMBER, date(2024, 10, 2), ["organization"], DayModelRollup),
        (["day", "member"], SEPTEMBER, OCTOBER, ["organization"], DayKeyRollup),
        (["day", "team"], SEPTEMBER, date(2024, 10, 2), ["organization", "member_id"], DayKeyRollup),
        (["day", "member", "model"], SEPTEMBER, OCTOBER, ["organization"], SpendRollup),
        ([], SEPTEMBER, OCTOBER, ["organization", "is_of_no_rollup"], None),
    ],
)
def test_the_coarsest_rollup_that_can_answer_is_asked(db, names, start, end, filters, asked):
    given = dict.fromkeys(filters)
    if asked is None:
        with pytest.raises(LookupError):
            rows_between(start, end, names, **given)
    else:
        assert rows_between(start, end, names, **given).model is asked
