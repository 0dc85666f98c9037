"""`/api/v1/reconciliation`: the project's own lines of the latest comparison, and asking for another."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import transaction

from accounts.models import Role
from accounts.provider_accounts import account_of
from billing import ledger
from billing.clock import database_now
from billing.models import Origin, ReconciliationRun, ServiceTier
from billing.pricing import Tokens
from billing.reconciliation import decisions, runs
from billing.reconciliation.bills import BilledCost, BilledUsage, ProviderBill
from billing.reconciliation.figures import Figures
from tests.api.managing import manager_of, send
from tests.conftest import Tenant, make_claim

DAY = timedelta(days=1)
MODEL = "o1-preview-2024-09-12"


@pytest.fixture
def today(alice: Tenant) -> date:
    alice.project.provider_project_id = "proj_alice"
    alice.project.save()
    return database_now().astimezone(UTC).date()


def book(tenant: Tenant) -> None:
    """A call of 0.045 USD."""
    with transaction.atomic():
        claim = make_claim(tenant.project, "5")
        ledger.reserve([claim])
        ledger.settle(claim.reference, Tokens(1000, 0, 500, 64), snapshot=MODEL)


def look(tenant: Tenant, today: date, *billed: tuple[str, str]) -> None:
    """Compares today's books with a bill of calls of 0.045 USD, each of a project of the provider and a model."""
    run = runs.begin(runs.ask(account_of(tenant.organization), Origin.NIGHTLY, today, today + DAY).pk)
    call = Figures(1, 1000, 0, 500)
    bill = ProviderBill(
        [BilledUsage(today, project, model, ServiceTier.STANDARD, call) for project, model in billed],
        [BilledCost(today, project, model, Decimal("0.045")) for project, model in billed],
    )
    runs.record(run, bill, now=datetime.combine(today, datetime.min.time(), UTC) + 10 * DAY)


def test_nothing_was_compared_yet(client):
    body = client.get("/api/v1/reconciliation").json()
    assert (body["data"], body["days"], body["total"]["difference_usd"]) == ([], [], "0.00")


def test_the_lines_of_the_latest_look_with_their_states(client, alice, today):
    book(alice)
    look(alice, today)
    look(alice, today, ("proj_alice", MODEL), ("proj_alice", "gpt-4o-2024-08-06"))

    body = client.get(f"/api/v1/reconciliation?from={today}&to={today + DAY}").json()

    extra, matched = body["data"]
    assert (extra["model"], extra["kind"], extra["state"]) == ("gpt-4o-2024-08-06", "missing_here", "open")
    assert (extra["difference_usd"], extra["undecided_usd"]) == ("0.045", "0.045")
    assert (matched["kind"], matched["state"], matched["ours"]) == ("matched", "agrees", matched["theirs"])
    assert matched["ours"] == {
        "requests": 1,
        "input_tokens": 1000,
        "cached_input_tokens": 0,
        "output_tokens": 500,
        "usd": "0.045",
    }
    assert body["total"] == {
        "ours_usd": "0.045",
        "theirs_usd": "0.09",
        "difference_usd": "0.045",
        "undecided_usd": "0.045",
    }
    assert [(day["day"], day["is_settled"]) for day in body["days"]] == [(str(today), True)]
    line = decisions.current_lines().get(kind="missing_here")
    decisions.accept(line, amount_usd=line.difference_usd, reason="a test", actor=alice.owner)
    total = client.get(f"/api/v1/reconciliation?from={today}&to={today + DAY}").json()["total"]
    assert total["undecided_usd"] == "0.00"


def test_lines_of_other_projects_are_not_shown(client, alice, bob, today):
    """Neither Bob's own, nor those of a project of the provider that both use."""
    book(bob)
    look(alice, today, ("proj_unknown", MODEL), ("proj_unknown", MODEL))
    assert client.get("/api/v1/reconciliation").json()["data"] == []
    bob.project.provider_project_id = "proj_alice"
    bob.project.save()
    look(alice, today, ("proj_alice", MODEL), ("proj_alice", MODEL))
    assert client.get("/api/v1/reconciliation").json()["data"] == []


@pytest.mark.parametrize("query", ["from=2026-11-02&to=2026-11-02", "from=2020-01-01&to=2026-01-01", "day=2026-11-02"])
def test_a_range_that_cannot_be_shown_is_refused(client, query):
    assert client.get(f"/api/v1/reconciliation?{query}").status_code == 400


# --- Asking for one ---------------------------------------------------------------------------------------------------
@pytest.fixture
def sent(monkeypatch) -> list[str]:
    """The runs that are handed to a worker."""
    handed: list[str] = []
    monkeypatch.setattr(runs.current_app, "send_task", lambda name, arguments: handed.extend(arguments))
    return handed


def test_a_comparison_is_asked_for_once_and_found_where_the_answer_says(
    alice, today, sent, django_capture_on_commit_callbacks
):
    key = manager_of(alice, Role.BILLING)
    body = {"from": str(today - DAY), "to": str(today)}
    with django_capture_on_commit_callbacks(execute=True):
        first, again = (send(key, "POST", "reconciliation", body, **{"Idempotency-Key": "k"}) for _ in range(2))
        assert sent == []  # a worker that is faster than the commit would find no run
    assert (first.status_code, again["Idempotent-Replayed"], again.json()) == (202, "true", first.json())
    run = ReconciliationRun.objects.get()
    assert sent == [str(run.pk)]
    assert (run.first_day, run.end_day, run.origin) == (today - DAY, today, "api")
    where = first["Location"].partition("/api/v1/")[2]
    assert send(key, "GET", where).json() == first.json()
    assert first.json()["outcome"] == "waiting"
    runs.record(runs.begin(run.pk), ProviderBill([], []))
    assert send(key, "GET", where).json()["outcome"] == "done"
    runs.break_off(run, "The bill cannot be read.")
    told = send(key, "GET", where).json()
    assert (told["outcome"], told["failure"]) == ("broken_off", "The bill cannot be read.")


def test_by_default_this_month_up_to_today_is_compared(alice, today, sent):
    assert send(manager_of(alice, Role.OWNER), "POST", "reconciliation", {}).status_code == 202
    run = ReconciliationRun.objects.get()
    assert (run.first_day, run.end_day) == (today.replace(day=1), today + DAY)


@pytest.mark.parametrize(
    "days", [{"from": 0, "to": 0}, {"from": -93, "to": 0}, {"from": 0, "to": 2}, {"from": 1}, {"since": 0}]
)
def test_days_that_cannot_be_compared_are_refused(alice, today, sent, days):
    body = {name: str(today + offset * DAY) for name, offset in days.items()}
    assert send(manager_of(alice, Role.OWNER), "POST", "reconciliation", body).status_code == 400
    assert not ReconciliationRun.objects.exists()
