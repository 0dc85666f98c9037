"""The provider's bill over a real socket against the real books: fetched, compared, kept, and told."""

import dataclasses
from collections.abc import Iterator
from datetime import UTC, date, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.models import AdminCredential, Organization, ProviderCredential
from accounts.provider_accounts import ProviderAccount, account_named, account_of, every_account
from billing import ledger
from billing.clock import database_now
from billing.errors import DifferenceChanged, NothingToDecide
from billing.models import Alert, LedgerEntry, Origin, ReconciledDay, ReconciliationLine, ReconciliationRun, UsageRecord
from billing.models.alerts import AlertKind
from billing.models.reconciliations import DifferenceKind as Kind
from billing.pricing import Tokens
from billing.reconciliation import decisions, runs
from billing.reconciliation.decisions import State
from billing.reconciliation.figures import Figures
from config.simulator.running import RunningSimulator
from jobs import reconciliation
from jobs.credentials import admin_access_of
from jobs.provider_bill import BillUnreadable, _amount, fetch, model_of
from tests.conftest import Tenant, make_claim

DAY = timedelta(days=1)
CALL = Tokens(input=1000, cached_input=0, output=500, reasoning=64)


@pytest.fixture(scope="session")
def _bill_simulator() -> Iterator[RunningSimulator]:
    with RunningSimulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(_bill_simulator: RunningSimulator, settings) -> RunningSimulator:
    """A provider that bills what the tests say, and the settings point at it."""
    _bill_simulator.clear_differences()
    _bill_simulator.set_usage_delay(0)
    settings.OPENAI_BASE_URL = _bill_simulator.base_url
    settings.OPENAI_ADMIN_KEY = "sk-admin-tests"
    settings.OPENAI_ORG_ID = f"org-{uuid7()}"
    return _bill_simulator


@dataclasses.dataclass
class Provider:
    """Both sides: calls that our books have, and calls that the provider bills, today."""

    simulator: RunningSimulator
    organization_id: str
    day: date

    def bill(self, tokens: Tokens = CALL, **more: Any) -> str:
        return self.simulator.differ(
            "extra",
            **{
                "model": "o1-preview",
                "organization": self.organization_id,
                "project": "proj_alice",
                "created_at": f"{self.day}T00:00:00.000+00:00",
                "prompt_tokens": tokens.input,
                "completion_tokens": tokens.output,
                **more,
            },
        )


@pytest.fixture
def provider(simulator: RunningSimulator, settings, alice: Tenant) -> Provider:
    alice.project.provider_project_id = "proj_alice"
    alice.project.save()
    return Provider(simulator, settings.OPENAI_ORG_ID, timezone.now().date())


def book(tenant: Tenant, tokens: Tokens = CALL, *, project=None) -> UsageRecord:
    """A call of today's in our books, of o1-preview at 15 and 60 USD."""
    with transaction.atomic():
        claim = make_claim(project or tenant.project, "5")
        assert ledger.reserve([claim]) == []
        return ledger.settle(claim.reference, tokens, snapshot="o1-preview-2024-09-12")


def account_for(tenant: Tenant) -> ProviderAccount:
    return account_of(tenant.organization)


def look(tenant: Tenant, *, is_settled: bool = True) -> list[ReconciliationLine]:
    """Fetches and compares the days around now; days later, when the bill is complete, unless told otherwise."""
    account = account_for(tenant)
    today = timezone.now().date()
    run = runs.ask(account, Origin.COMMAND, today - DAY, today + 2 * DAY)
    begun = runs.begin(run.pk)
    now = database_now() + (10 * DAY if is_settled else timedelta(0))
    return runs.record(begun, fetch(admin_access_of(account), *runs.days_of_bill(begun)), now=now)


def kinds(lines: list[ReconciliationLine]) -> dict[str, Decimal]:
    return {line.kind: line.difference_usd for line in lines}


def test_equal_books_match(alice, provider):
    book(alice)
    book(alice)
    provider.bill()
    provider.bill()
    (line,) = look(alice)
    assert (line.kind, line.ours_requests, line.theirs_requests) == (Kind.MATCHED, 2, 2)
    assert (line.ours_usd, line.theirs_usd, line.difference_usd) == (Decimal("0.09"), Decimal("0.09"), 0)
    assert (line.project, line.organization, line.model) == (
        alice.project,
        alice.organization,
        "o1-preview-2024-09-12",
    )
    assert decisions.drift_usd() == 0
    assert Alert.objects.count() == 0


def test_seeded_differences_are_found_over_the_socket_and_none_is_invented(alice, provider):
    for _ in range(3):
        book(alice)
    provider.simulator.differ("misprice", id=provider.bill(), factor="2")
    provider.bill()
    provider.bill(model="gpt-4o-mini", prompt_tokens=1_000_000, completion_tokens=0)
    lines = look(alice)
    found = {(line.model, line.kind): line.difference_usd for line in lines}
    # One of three calls is missing (-0.045), one of two costs the double (+0.045).
    assert found == {
        ("o1-preview-2024-09-12", Kind.MISSING_THERE): Decimal("-0.045"),
        ("o1-preview-2024-09-12", Kind.PRICED_DIFFERENTLY): Decimal("0.045"),
        ("gpt-4o-mini-2024-07-18", Kind.MISSING_HERE): Decimal("0.15"),
    }
    assert sum(line.difference_usd for line in lines) == sum(line.theirs_usd - line.ours_usd for line in lines)
    assert decisions.drift_usd() == Decimal("0.24")


def test_what_is_late_is_settled_by_a_later_run_and_the_earlier_one_is_kept(alice, provider):
    book(alice)
    (late,) = look(alice, is_settled=False)
    assert (late.kind, decisions.standings([late])[late.pk].state) == (Kind.LATE, State.WAITING)
    today = timezone.now().date()
    assert not ReconciledDay.objects.filter(is_settled=True, day=late.day).exists()
    assert runs.due_days(account_for(alice), database_now() + 3 * DAY)[0] <= late.day
    provider.bill()
    (matched,) = look(alice)
    assert matched.kind == Kind.MATCHED
    assert list(decisions.current_lines()) == [matched]
    assert ReconciliationLine.objects.filter(pk=late.pk, run__finished_at__isnull=False).exists()
    assert runs.due_days(account_for(alice), database_now())[1] == today


def test_a_call_in_doubt_explains_what_was_billed(alice, provider):
    claim = make_claim(alice.project, "5")
    claim = dataclasses.replace(claim, input_tokens=2000)
    with transaction.atomic():
        ledger.reserve([claim])
        ledger.mark_in_doubt(claim.reference, reason="its worker died")
    provider.bill()
    (line,) = look(alice)
    assert (line.kind, line.difference_usd) == (Kind.IN_DOUBT, Decimal("0.045"))
    assert "1 calls whose outcome is open: together 5.00 USD at most" in line.detail
    assert decisions.drift_usd() == 0


def test_projects_that_share_a_project_of_the_provider_are_compared_together(alice, provider):
    sibling = alice.organization.projects.create(name="Sibling", slug="sibling", provider_project_id="proj_alice")
    book(alice)
    book(alice, project=sibling)
    provider.bill()
    provider.bill()
    (line,) = look(alice)
    assert (line.kind, line.ours_requests, line.project, line.organization) == (
        Kind.MATCHED,
        2,
        None,
        alice.organization,
    )


def test_calls_that_name_no_project_are_compared_with_all_that_none_of_ours_names(alice, bob, provider):
    book(alice)
    book(bob)
    provider.bill()
    provider.bill(project="proj_that_the_key_belongs_to")
    provider.bill(project="proj_of_somebody_else")
    found = {(line.provider_project, line.kind): line for line in look(alice)}
    assert found.keys() == {("proj_alice", Kind.MATCHED), ("", Kind.MATCHED), ("", Kind.MISSING_HERE)}
    assert found["", Kind.MATCHED].project == bob.project
    assert found["proj_alice", Kind.MATCHED].organization == alice.organization


def test_an_organization_with_its_own_key_has_its_own_account(alice, bob, provider, settings):
    credential = ProviderCredential(organization=bob.organization, provider_organization_id="org-bob")
    credential.api_key = "sk-bob"
    credential.save()
    book(bob)
    provider.bill()
    accounts = {str(account) for account in every_account()}
    assert accounts == {"the deployment's account", "Bob"}
    assert admin_access_of(account_for(bob)) is None
    run = reconciliation.carry_out(runs.ask(account_for(bob), Origin.COMMAND, provider.day, provider.day + DAY).pk)
    assert run.failure.startswith("There is no admin key")
    admin = AdminCredential(organization=bob.organization)
    admin.api_key = "sk-admin-bob"
    admin.save()
    access = admin_access_of(account_for(bob))
    assert (access.api_key, access.provider_organization_id) == ("sk-admin-bob", "org-bob")
    assert "sk-admin-bob" not in repr(access) + AdminCredential.objects.get().encrypted_api_key
    (missing,) = look(bob)
    assert (missing.kind, missing.organization, missing.run.organization) == (
        Kind.MISSING_THERE,
        bob.organization,
        bob.organization,
    )
    (extra,) = look(alice)
    assert extra.kind == Kind.MISSING_HERE


# --- Decisions --------------------------------------------------------------------------------------------------------
def test_an_adjustment_books_the_difference_once(alice, provider):
    provider.bill()
    (line,) = look(alice)
    standing = decisions.standings([line])[line.pk]
    assert (standing.state, standing.undecided_usd) == (State.OPEN, Decimal("0.045"))
    common = {"reason": "used from a notebook", "actor": alice.owner}
    with pytest.raises(DifferenceChanged):
        decisions.adjust(line, project=alice.project, amount_usd=Decimal("0.04"), **common)
    decision = decisions.adjust(line, project=alice.project, amount_usd=Decimal("0.045"), **common)
    entry = LedgerEntry.objects.get(kind="adjust")
    assert (entry.spent_change_usd, entry.actor, decision.entry) == (Decimal("0.045"), alice.owner, entry)
    assert entry.reason == (
        f"Provider's bill of {line.day}, o1-preview-2024-09-12, not through Bursar: used from a notebook"
    )
    with pytest.raises(NothingToDecide):
        decisions.adjust(line, project=alice.project, amount_usd=Decimal("0.045"), **common)
    assert decisions.drift_usd() == 0
    # A later look at the day finds the decision again, and what came since.
    (again,) = look(alice)
    assert decisions.standings([again])[again.pk].state == State.ADJUSTED
    with pytest.raises(DifferenceChanged):
        decisions.accept(line, amount_usd=Decimal("0.045"), **common)
    provider.bill()
    (more,) = look(alice)
    assert decisions.standings([more])[more.pk] == decisions.Standing(State.OPEN, Decimal("0.045"))


def test_an_adjustment_whose_difference_is_gone_is_seen_again(alice, provider):
    book(alice)
    (missing,) = look(alice)
    common = {"reason": "their mistake", "actor": alice.owner}
    decisions.adjust(missing, project=alice.project, amount_usd=Decimal("-0.045"), **common)
    provider.bill()  # it came after all
    matched, gone = look(alice)
    assert (matched.kind, gone.kind, gone.detail) == (Kind.MATCHED, Kind.MISSING_THERE, decisions.GONE)
    assert decisions.standings([gone])[gone.pk] == decisions.Standing(State.OPEN, Decimal("0.045"))
    decisions.adjust(gone, project=alice.project, amount_usd=Decimal("0.045"), **common)
    assert (decisions.drift_usd(), len(look(alice))) == (0, 1)


def test_an_accepted_difference_stays_until_it_changes(alice, provider):
    provider.bill()
    (line,) = look(alice)
    decisions.accept(line, amount_usd=Decimal("0.045"), reason="a test of ours", actor=alice.owner)
    assert decisions.standings([line])[line.pk].state == State.ACCEPTED
    assert (decisions.drift_usd(), LedgerEntry.objects.filter(kind="adjust").count()) == (0, 0)
    provider.bill()
    (more,) = look(alice)
    assert decisions.standings([more])[more.pk] == decisions.Standing(State.OPEN, Decimal("0.09"))


# --- Alerts, command, daily run ---------------------------------------------------------------------------------------
def test_drift_is_told_once_a_day(alice, provider, settings):
    settings.DRIFT_ALERT_USD = Decimal("0.05")
    provider.bill()
    look(alice)
    assert Alert.objects.count() == 0
    provider.bill()
    look(alice)
    look(alice)
    (alert,) = Alert.objects.all()
    assert (alert.kind, alert.organization, alert.project) == (AlertKind.DRIFT, alice.organization, None)
    assert alert.text.startswith("1 difference comes to 0.09 USD between the books of")


def test_the_command_says_what_differs(alice, provider, settings):
    settings.PROVIDER_BILL_DELAY_HOURS = -48
    book(alice)
    provider.bill()
    provider.bill(model="gpt-4o-mini")
    said = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile", "--from", str(provider.day), "--to", str(provider.day + DAY), stdout=said)
    assert ended.value.code == 1
    text = said.getvalue()
    assert "ours 0.045 USD, theirs 0.04545 USD" in text
    assert "gpt-4o-mini-2024-07-18: not through Bursar, 0.00045 USD (open)" in text


def test_the_daily_run_looks_at_every_account_with_a_key(alice, provider, settings):
    (run,) = reconciliation.reconcile_every_account()
    today = database_now().astimezone(UTC).date()
    assert (run.failure, run.first_day, run.end_day) == ("", today - 7 * DAY, today)
    assert ReconciledDay.objects.filter(run=run).count() == 7
    (again,) = reconciliation.reconcile_every_account()
    # Of two days the bill is not complete yet: 48 hours after the end of each.
    assert (again.first_day, again.end_day) == (today - 2 * DAY, today)
    settings.OPENAI_ADMIN_KEY = ""
    assert reconciliation.reconcile_every_account() == []


def test_a_run_is_carried_out_once(alice, provider):
    asked = runs.ask(account_named(None), Origin.PAGE, provider.day, provider.day + DAY)
    first = reconciliation.carry_out(asked.pk)
    assert reconciliation.carry_out(asked.pk).finished_at == first.finished_at


@pytest.mark.parametrize("key", ["sk-no-admin-key", "sk-invalid"])
def test_a_refused_key_breaks_the_run_off_and_says_why(alice, provider, settings, key):
    settings.OPENAI_ADMIN_KEY = key
    asked = runs.ask(account_named(None), Origin.PAGE, provider.day, provider.day + DAY)
    run = reconciliation.carry_out(asked.pk)
    assert (run.outcome, "Is it an admin key" in run.failure, key in run.failure) == ("broken off", True, False)
    assert ReconciliationRun.objects.get().failure == run.failure


# --- The bill's form --------------------------------------------------------------------------------------------------
def test_the_pages_of_a_long_time_are_all_read(provider):
    provider.bill()
    access = admin_access_of(account_named(None))
    bill = fetch(access, provider.day - 200 * DAY, provider.day + DAY)
    assert [(used.day, used.figures) for used in bill.usage] == [(provider.day, Figures(1, 1000, 0, 500))]
    assert sum(cost.usd for cost in bill.costs) == Decimal("0.045")


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("0.000004500000000000000000000000000000000", Decimal("0.0000045")),
        (Decimal("0.06"), Decimal("0.06")),
        (3, Decimal(3)),
        ("-1.5e-7", Decimal("-0.00000015")),
    ],
)
def test_amounts_come_as_numbers_or_as_texts(value, amount):
    assert _amount(value) == amount


@pytest.mark.parametrize("value", [None, True, "NaN", "Infinity", "a lot", 1.5, Decimal("1e12")])
def test_what_is_no_amount_is_refused(value):
    with pytest.raises((ValueError, TypeError)):
        _amount(value)


@pytest.mark.parametrize(
    ("item", "model"),
    [
        ("gpt-4o-mini-2024-07-18, cached input", "gpt-4o-mini-2024-07-18"),
        ("o1-2024-12-17, Output", "o1-2024-12-17"),
        ("evals | gpt-4o-mini-2024-07-18, input", "evals | gpt-4o-mini-2024-07-18"),
        ("gpt-4o, images", "gpt-4o, images"),
        ("web search tool calls", "web search tool calls"),
        (None, "unnamed item"),
    ],
)
def test_a_line_item_names_its_model(item, model):
    assert model_of(item) == model


def test_an_unreachable_provider_is_said(provider, monkeypatch, settings):
    monkeypatch.setattr("jobs.provider_bill.PAUSES_SECONDS", (0, 0))
    settings.OPENAI_BASE_URL = "http://127.0.0.1:1/v1"
    with pytest.raises(BillUnreadable, match="ConnectError"):
        fetch(admin_access_of(account_named(None)), provider.day, provider.day + DAY)


def test_organizations_without_credentials_share_the_deployments_account(alice, bob):
    account = account_of(Organization.objects.get(slug="bob"))
    assert (account.organization, [str(one) for one in account.organizations]) == (None, ["Alice", "Bob"])
