"""`bursar waste`: what the API says of a month, as a table, as JSON and as a file."""

import csv
import io
import json
from decimal import Decimal

import pytest

from accounts.models import Project, Role
from billing.pricing import Tokens
from jobs.models import WasteReport
from jobs.waste import making
from tests.api.managing import manager_of
from tests.command_line.conftest import Shell
from tests.waste.conftest import Month, month

__all__ = ["month"]

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def cells(line: str) -> list[str]:
    """A line of a table, without what is empty in it."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_categories_their_sum_and_their_share_of_the_spend(shell, month: Month):
    month.paid(is_empty=True)
    month.paid(is_empty=True)
    month.paid()
    month.paid()
    month.paid(is_refused=True)
    done = shell("waste")
    assert done.code == 0, done.err
    title, *lines = done.out.splitlines()
    assert title.split() == ["CATEGORY", "JOBS", "USD", "OF", "ALL"]
    empty, refused, *sums = [cells(line) for line in lines]
    assert empty[:4] == ["empty", "2", "0.18", "40.0 %"]
    assert refused[:4] == ["refused", "1", "0.09", "20.0 %"]
    assert sums == [["wasted", "0.27", "60.0 %"], ["useful", "0.18", "40.0 %"], ["spent", "0.45", "100.0 %"]]
    assert "0.27 of 0.45 USD bought nothing, 5 calls" in done.err
    assert "empty: Raise max_completion_tokens" in done.err
    assert "unread" not in done.out + done.err
    assert shell("waste", "-q").err == ""


def test_what_was_booked_beside_calls_is_a_line_of_its_own(shell, month: Month):
    month.paid()
    month.adjust("0.01")
    lines = [cells(line) for line in shell("waste").out.splitlines()]
    assert lines[-2:] == [["corrections", "0.01", "10.0 %"], ["spent", "0.10", "100.0 %"]]
    month.adjust("-0.10")
    assert cells(shell("waste").out.splitlines()[-1]) == ["spent", "0.00", "-"]


def test_models_that_a_cheaper_one_would_replace(shell, month: Month):
    for _ in range(20):
        month.paid()
    for _ in range(20):
        month.paid("o1-mini")
    done = shell("waste")
    told = json.loads(shell("waste", "--json").out)
    (switch,) = told["switches"]
    of_models, of_switches = done.out.split("\n\n")
    (line,) = [cells(line) for line in of_models.splitlines() if line.startswith("dear_model")]
    assert (line[1], line[2], line[-1]) == ("20", switch["usd"], "at most")
    assert cells(of_switches.splitlines()[1]) == [
        *("o1-preview", "o1-mini", "answers like prompts as often", "20", switch["usd"])
    ]


def test_json_and_csv_are_what_the_api_answers(shell, month: Month):
    month.paid(is_empty=True)
    told = json.loads(shell("waste", "--json", "--month", f"{month.first:%Y-%m}").out)
    assert (told["object"], told["wasted_usd"]) == ("waste_report", "0.09")
    rows = list(csv.DictReader(io.StringIO(shell("waste", "--csv").out)))
    assert {row["category"]: Decimal(row["usd"]) for row in rows}["empty"] == Decimal("0.09")
    both = shell("waste", "--csv", "--json")
    assert (both.code, both.out) == (2, "")


def test_a_month_without_calls_says_so(shell, month: Month):
    done = shell("waste", "--month", "2025-01")
    assert (done.code, done.out) == (0, "")
    assert "Nothing was called in 2025-01" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--month", "2026-13"], 2, "2026-13"),
        (["--month", "October"], 2, "--month takes a month"),
        (["--month", "2999-01"], 1, "has not begun"),
        (["--project", "0192428f-7f3b-7c6e-9d0a-5b8c3e1f2a4d"], 4, "no project"),
        (["--project", "mine"], 1, "project"),
    ],
)
def test_exit_codes_and_what_is_said(shell, arguments, code, said):
    done = shell("waste", *arguments)
    assert (done.code, done.out) == (code, ""), done.err
    assert said in done.err


def test_other_projects_are_for_keys_that_may_see_them(shell, month: Month, alice):
    other = Project.objects.create(organization=alice.organization, name="Other", slug="other")
    assert shell("waste", "--project", str(other.pk)).code == 4
    secret = manager_of(alice, Role.OWNER)._credentials["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    managing = Shell(shell.folder, {**shell.environment, "BURSAR_API_KEY": secret})
    assert "Nothing was called" in managing("waste", "--project", str(other.pk)).err


@pytest.mark.parametrize("form", [[], ["--csv"], ["--json"]])
def test_a_month_that_is_not_reckoned_yet_is_no_month_without_waste(shell, month: Month, monkeypatch, form):
    month.paid(is_empty=True)
    monkeypatch.setattr(making, "MOST_WHILE_ASKED", 0)
    done = shell("waste", *form)
    assert done.code == 6
    assert "ask again in ten minutes" in done.err
    assert (json.loads(done.out)["status"] == "preparing") if form == ["--json"] else (done.out == "")


def test_a_report_from_before_the_latest_calls_says_of_when_it_is(shell, month: Month, monkeypatch):
    month.paid(is_empty=True)
    assert "reckoned anew" not in shell("waste").err
    month.paid(tokens=Tokens(20, 0, 10, 8))
    monkeypatch.setattr(making, "MOST_WHILE_ASKED", 0)
    done = shell("waste")
    assert done.code == 0
    assert f"As of {WasteReport.objects.get().made_at.astimezone():%Y-%m-%d %H:%M:%S}" in done.err
