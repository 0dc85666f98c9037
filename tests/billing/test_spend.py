"""Answers about spend: who spent what, when, on which model, and how much of it was reasoning."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import uuid4

import pytest

from accounts import api_keys
from accounts.models import Project, Team
from billing.models import SpendRollup
from billing.spend import GROUPINGS, lines, rows_between, total, total_of

D = Decimal
DAY = date(2024, 9, 12)


def spend(project: Project, usd: str, *, day: date = DAY, model: str = "o1-mini", **fields) -> SpendRollup:
    """A rollup of one owner and day; figures that are not given follow from the amount."""
    amount = D(usd)
    parts = {"input_usd": D(0), "cached_input_usd": D(0), "output_usd": amount, "reasoning_usd": D(0)}
    tokens = {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 100, "reasoning_tokens": 25}
    return SpendRollup.objects.create(
        **{
            "day": day,
            "organization": project.organization,
            "project": project,
            "api_key_id": None,
            "model": model,
            "service_tier": "standard",
            "calls": 1,
            "empty_calls": 0,
            "total_usd": amount,
            "empty_usd": D(0),
            **tokens,
            **parts,
            **fields,
        }
    )


def test_days_are_counted_from_the_first_and_up_to_the_last(project):
    for day in range(11, 15):
        spend(project, f"0.{day}", day=date(2024, 9, day))
    found = rows_between(date(2024, 9, 12), date(2024, 9, 14), ["day", "model", "key"])
    assert [line.group["day"].day for line in lines(found, ["day"])] == [12, 13]
    assert total(found).total_usd == D("0.25")
    assert not rows_between(DAY, DAY, ["model", "key"]).exists()


def test_other_columns_narrow_it_down(project, other_project):
    spend(project, "1")
    spend(other_project, "2")
    spend(project, "4", model="o1-preview")
    alices = rows_between(DAY, date(2024, 9, 13), ["model", "key"], organization=project.organization)
    assert total(alices).total_usd == 5
    assert total(alices.filter(model="o1-preview")).total_usd == 4


def test_groups_come_the_dearest_first_and_days_in_their_order(project):
    spend(project, "1", model="o1-mini")
    spend(project, "3", model="o1-preview")
    spend(project, "2", model="o1-mini", day=date(2024, 9, 13))
    rows = SpendRollup.objects.all()
    assert [(line.group["model"], line.total_usd) for line in lines(rows, ["model"])] == [
        ("o1-mini", D(3)),
        ("o1-preview", D(3)),
    ]
    assert [(line.group["day"].day, line.group["model"]) for line in lines(rows, ["day", "model"])] == [
        (12, "o1-preview"),
        (12, "o1-mini"),
        (13, "o1-mini"),
    ]


def test_a_group_is_the_sum_of_its_rows(project):
    for _ in range(3):
        spend(project, "0.000000000001", api_key_id=uuid4(), empty_calls=1, empty_usd=D("0.000000000001"))
    (line,) = lines(SpendRollup.objects.all(), ["model"])
    assert line.total_usd == line.totals["empty_usd"] == D("0.000000000003")
    assert (line.totals["calls"], line.totals["empty_calls"], line.totals["input_tokens"]) == (3, 3, 30)
    assert line.totals == total(SpendRollup.objects.all()).totals


def test_nothing_spent_is_zero_and_not_nothing(db):
    for line in (total(SpendRollup.objects.all()), total_of([])):
        assert line.total_usd == 0
        assert set(line.totals.values()) == {0}
        assert isinstance(line.totals["total_usd"], Decimal)
        assert isinstance(line.totals["calls"], int)


def test_lines_add_up_to_the_total_of_their_rows(project):
    for number, model in enumerate("abc"):
        spend(project, f"0.00000000000{number}", model=model, empty_calls=number)
    rows = SpendRollup.objects.all()
    assert total_of(lines(rows, ["model"])) == total(rows)


@pytest.mark.parametrize(
    ("reasoning", "output", "share"),
    [(0, 0, None), (0, 7, "0.0000"), (1024, 1279, "0.8006"), (300, 300, "1.0000"), (1, 3, "0.3333")],
)
def test_the_reasoning_share_is_a_part_of_the_output(project, reasoning, output, share):
    spend(project, "1", output_tokens=output, reasoning_tokens=reasoning)
    expected = None if share is None else D(share)
    assert total(SpendRollup.objects.all()).reasoning_share == expected


# --- What owners are called -------------------------------------------------------------------------------------------
def test_every_grouping_is_labelled_with_what_people_call_it(project, owner, api_key):
    team = Team.objects.create(organization=project.organization, name="Data science")
    spend(project, "1", team_id=team.pk, member_id=owner.pk, api_key_id=api_key.api_key.pk)
    (line,) = lines(SpendRollup.objects.all(), list(GROUPINGS))
    assert dict(line.labels) == {
        "day": "2024-09-12",
        "project": "Alice research",
        "team": "Data science",
        "member": "owner@alice.example",
        "key": "tests",
        "model": "o1-mini",
        "service_tier": "standard",
    }
    assert line.group["member"] == owner.pk


def test_spend_without_an_owner_of_that_kind_has_an_empty_label(project):
    spend(project, "1", team_id=None, member_id=None, api_key_id=None)
    (line,) = lines(SpendRollup.objects.all(), ["team", "member", "key"])
    assert dict(line.labels) == {"team": "", "member": "", "key": ""}
    assert dict(line.group) == {"team": None, "member": None, "key": None}


def test_spend_of_an_owner_that_is_gone_stays_under_its_id(project, owner):
    issued = api_keys.issue(project, name="short-lived", created_by=owner)
    key_id = issued.api_key.pk
    spend(project, "1", api_key_id=key_id)
    issued.api_key.delete()
    (line,) = lines(SpendRollup.objects.all(), ["key"])
    assert line.labels["key"] == str(key_id)


def test_two_owners_of_one_name_stay_apart(project):
    twin = Project.objects.create(organization=project.organization, name=project.name, slug="twin")
    spend(project, "1")
    spend(twin, "2")
    assert [
        (line.group["project"], line.labels["project"]) for line in lines(SpendRollup.objects.all(), ["project"])
    ] == [
        (twin.pk, "Alice research"),
        (project.pk, "Alice research"),
    ]


def test_groups_of_equal_spend_keep_one_order(project):
    for model in ("c", "a", "b"):
        spend(project, "1", model=model)
    assert [line.group["model"] for line in lines(SpendRollup.objects.all(), ["model"])] == ["a", "b", "c"]


def test_the_labels_of_many_groups_cost_one_query_a_grouping(project, owner, django_assert_num_queries):
    for number in range(5):
        issued = api_keys.issue(project, name=f"key {number}", created_by=owner)
        spend(project, "1", api_key_id=issued.api_key.pk)
    with django_assert_num_queries(3):
        assert len(lines(SpendRollup.objects.all(), ["project", "key"])) == 5


# --- From the ledger --------------------------------------------------------------------------------------------------
def test_a_call_counts_on_the_utc_day_on_which_it_was_dispatched(book, monkeypatch):
    from billing import ledger

    nearly_midnight = datetime(2026, 3, 31, 23, 59, 59, 999999, tzinfo=UTC)
    monkeypatch.setattr(ledger.storage, "now", lambda: nearly_midnight)
    reference = book.hold("2.5")
    monkeypatch.setattr(ledger.storage, "now", lambda: datetime(2026, 4, 1, 0, 5, tzinfo=UTC))
    book.settle(reference, output=1000, reasoning=400)
    (line,) = lines(SpendRollup.objects.all(), ["day", "project"])
    assert line.group["day"] == date(2026, 3, 31)
    assert line.total_usd == D("0.06")
    assert line.reasoning_share == D("0.4000")
