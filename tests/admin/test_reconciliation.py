"""The pages of the provider's bill: what they show, and that only those decide who may, once, with a reason."""

from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import LedgerEntry, Origin, ReconciliationDecision, ReconciliationLine, ReconciliationRun
from billing.models.reconciliations import DifferenceKind
from billing.reconciliation import decisions, runs
from tests.admin.conftest import compare_with_bill, spend

VIEW = "billing.view_reconciliationrun"


@pytest.fixture
def sent(monkeypatch) -> list[list[str]]:
    """What goes to the broker."""
    messages: list[list[str]] = []
    monkeypatch.setattr(runs.current_app, "send_task", lambda name, args: messages.append([name, *args]))
    return messages


def month_url(organization) -> str:
    return reverse("admin:billing_reconciliation_organization", args=[organization.pk])


def extra() -> ReconciliationLine:
    return decisions.current_lines().get(kind=DifferenceKind.MISSING_HERE)


def decide(client: Client, line: ReconciliationLine, decision: str, **fields: str):
    form = {"decision": decision, "amount": "0.05", "reason": "a notebook of theirs", **fields}
    return client.post(reverse("admin:billing_reconciliation_decide", args=[line.pk]), form, follow=True)


def test_a_month_shows_both_sides_and_what_lies_between(admin: Client, alice):
    record = spend(alice.project)
    compare_with_bill(alice.organization, "0.05", "0.07")
    page = admin.get(month_url(alice.organization)).text
    # Nothing of our call is in the bill yet, and two calls of it are not ours.
    for shown in ("$0.077385", "$0.12", "$0.042615", "Not through Bursar", "Late", "the bill of 1 may not be complete"):
        assert shown in page, shown
    assert page.count("<rect") == 2
    assert f"q={record.snapshot}" in page
    lines = admin.get(month_url(alice.organization), {"kind": "late"}).context["rows"]
    assert [row.line.kind for row in lines] == ["late"]
    assert [row.state for row in admin.get(month_url(alice.organization), {"state": "adjusted"}).context["rows"]] == []
    drill_down = admin.get(lines[0].records.split('"')[1].replace("&amp;", "&"))
    assert list(drill_down.context["cl"].result_list) == [record]


def test_a_month_that_nobody_looked_at_says_how_it_is_done(admin: Client, alice):
    page = admin.get(month_url(alice.organization), {"month": "2024-09"}).text
    assert "No day of September 2024 was compared" in page
    assert admin.get(reverse("admin:billing_reconciliation")).status_code == 200
    assert reverse("admin:billing_reconciliation") in admin.get(reverse("admin:tables")).text


def test_an_adjustment_is_posted_by_a_person_with_a_reason(admin: Client, superuser, alice):
    compare_with_bill(alice.organization, "0.05")
    line = extra()
    page = admin.get(reverse("admin:billing_reconciliation_decide", args=[line.pk])).text
    assert "Book $0.05 as an adjustment" in page
    assert "give a reason" in decide(admin, line, "adjust", project=str(alice.project.pk), reason=" ").text
    assert "choose a project" in decide(admin, line, "adjust").text
    assert LedgerEntry.objects.filter(kind="adjust").count() == 0

    done = decide(admin, line, "adjust", project=str(alice.project.pk))

    assert "$0.05 booked for Alice research." in done.text
    entry = LedgerEntry.objects.get(kind="adjust")
    assert (entry.project, entry.spent_change_usd, entry.actor) == (alice.project, Decimal("0.05"), superuser)
    assert entry.reason.endswith("not through Bursar: a notebook of theirs")
    assert "There is nothing to decide" in decide(admin, line, "adjust", project=str(alice.project.pk)).text
    assert LedgerEntry.objects.filter(kind="adjust").count() == 1


def test_a_difference_that_changed_meanwhile_is_not_booked(admin: Client, alice):
    compare_with_bill(alice.organization, "0.05")
    line = extra()
    compare_with_bill(alice.organization, "0.05", "0.01")
    assert "The difference is not what was shown" in decide(admin, line, "accept").text
    assert "The difference is not what was shown" in decide(admin, extra(), "accept").text
    assert "This is no amount." in decide(admin, extra(), "accept", amount="much").text
    assert ReconciliationDecision.objects.count() == 0
    assert "$0.06 accepted." in decide(admin, extra(), "accept", amount="0.06").text


def test_nothing_is_adjusted_for_another_accounts_project(admin: Client, alice, bob, monkeypatch):
    compare_with_bill(alice.organization, "0.05")
    line = extra()
    line_of_alice = ReconciliationLine.objects.filter(pk=line.pk)
    line_of_alice.update(organization=alice.organization)
    assert "choose a project" in decide(admin, line, "adjust", project=str(bob.project.pk)).text


@pytest.mark.parametrize("permissions", [(), (VIEW,), (VIEW, "billing.ask_reconciliation")])
def test_who_may_not_decide_can_not(staff_with, alice, permissions):
    compare_with_bill(alice.organization, "0.05")
    staff = staff_with(*permissions)
    assert decide(staff, extra(), "accept").status_code == 403
    assert staff.get(month_url(alice.organization)).status_code == (200 if permissions else 403)
    assert ReconciliationDecision.objects.count() == 0


def test_a_worker_is_asked_to_compare_a_month(admin: Client, staff_with, alice, sent):
    url = reverse("admin:billing_reconciliation_ask", args=[alice.organization.pk])
    assert staff_with(VIEW).post(url).status_code == 403
    assert admin.get(url).status_code == 405
    answer = admin.post(url, {"month": "2024-09"}, follow=True)
    run = ReconciliationRun.objects.get()
    assert (str(run.first_day), str(run.end_day), run.origin) == ("2024-09-01", "2024-10-01", Origin.PAGE)
    assert sent == [["jobs.tasks.reconcile", str(run.pk)]]
    assert "A worker looks at the provider" in answer.text


def test_a_broker_that_is_away_is_said(admin: Client, alice, monkeypatch):
    def refuse(name: str, args: list[str]) -> None:
        raise OSError("away")

    monkeypatch.setattr(runs.current_app, "send_task", refuse)
    url = reverse("admin:billing_reconciliation_ask", args=[alice.organization.pk])
    assert "The message broker did not take it" in admin.post(url, follow=True).text


def test_the_adjustment_and_its_decision_are_one(admin: Client, alice, monkeypatch):
    """A ledger that refuses leaves no decision behind, and a decision that fails leaves no entry."""
    compare_with_bill(alice.organization, "0.05")

    def fail(**fields: object) -> None:
        raise RuntimeError("the decision could not be kept")

    monkeypatch.setattr(ReconciliationDecision.objects, "create", fail)
    with pytest.raises(RuntimeError):
        decisions.adjust(extra(), project=alice.project, amount_usd=Decimal("0.05"), reason="x", actor=alice.owner)
    assert LedgerEntry.objects.filter(kind="adjust").count() == 0
