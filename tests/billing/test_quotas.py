"""Limits of every scope, measure and window."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import api_keys
from accounts.models import Membership, Role, Team, User
from billing import ledger
from billing.budgets import limits_of, owner_of, recount, states_of
from billing.limits import Owner
from billing.models import Budget, Quota
from billing.periods import day_of, month_of, week_of

D = Decimal


@pytest.fixture
def team(book) -> Team:
    team = Team.objects.create(organization=book.project.organization, name="Physics")
    book.project.team = team
    book.project.save()
    return team


@pytest.fixture
def member(book) -> User:
    user = User.objects.create_user("carol@alice.example")
    Membership.objects.create(organization=book.project.organization, user=user, role=Role.MEMBER)
    return user


# --- Scopes -----------------------------------------------------------------------------------------------------------
def test_a_quota_of_each_scope_binds_its_own_calls_and_no_others(book, alice, team, member):
    key = alice.api_key.api_key
    other_key = api_keys.issue(book.project, name="other", created_by=member).api_key
    mine = {"team_id": team.pk, "member_id": alice.owner.pk, "api_key_id": key.pk}
    quotas = {
        "organization": book.quota("10", scope="organization", project=None),
        "team": book.quota("10", scope="team", project=None, team=team),
        "project": book.quota("10"),
        "member": book.quota("10", scope="member", project=None, member=alice.owner),
        "key": book.quota("10", scope="key", project=None, api_key=key),
    }
    others = [
        book.quota("0", scope="team", project=None, team=Team.objects.create(organization=team.organization, name="X")),
        book.quota("0", scope="member", project=None, member=member),
        book.quota("0", scope="key", project=None, api_key=other_key),
        book.quota("0", model="o1-mini"),
    ]
    assert book.reserve(book.claim("1", **mine)) == []
    assert {name: book.used(quota) for name, quota in quotas.items()} == dict.fromkeys(quotas, (D(1), D(0)))
    assert not Budget.objects.filter(quota__in=others).exists()
    for scope, quota in quotas.items():
        Quota.objects.filter(pk=quota.pk).update(limit=D("1.5"))
        (refusal,) = book.reserve(book.claim("1", **mine))
        assert refusal.describe()["scope"] == scope
        Quota.objects.filter(pk=quota.pk).update(limit=D(10))


def test_a_key_belongs_to_its_project_its_team_and_its_maker(alice, team):
    owner = owner_of(alice.api_key.api_key, "o1-mini")
    assert (owner.project, owner.member_id, owner.model) == (alice.project, alice.owner.pk, "o1-mini")


def test_a_quota_for_one_model_counts_that_model_alone(book):
    quota = book.quota("1", model="o1-mini")
    book.hold("5")  # o1-preview
    assert len(book.reserve(book.claim("2", model="o1-mini"))) == 1
    book.hold("0.5", model="o1-mini")
    assert book.used(quota) == (D("0.5"), D(0))


# --- Measures ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("measure", "held", "spent"),
    [("tokens", 40_000, 1000), ("output_tokens", 40_000, 1000), ("reasoning_tokens", 40_000, 640), ("jobs", 1, 1)],
)
def test_each_measure_holds_its_bound_and_spends_what_it_came_to(book, measure, held, spent):
    quota = book.quota("100000", measure=measure)
    reference = book.hold("2.5")
    assert book.used(quota) == (D(held), D(0))
    book.settle(reference, output=1000, reasoning=640)
    assert book.used(quota) == (D(0), D(spent))
    book.release(book.hold("2.5"))
    assert book.used(quota) == (D(0), D(spent))


def test_fifty_jobs_a_week_are_fifty_and_a_job_given_back_does_not_count(book):
    quota = book.quota("50", measure="jobs", window="week")
    references = [book.hold("0.01") for _ in range(50)]
    (refusal,) = book.reserve(book.claim("0.01"))
    told = refusal.describe()
    assert (told["measure"], told["limit"], told["held"], told["required"]) == ("jobs", "50", "50", "1")
    book.release(references.pop())
    for reference in references:
        book.settle(reference, output=10)
    book.hold("0.01")
    assert book.used(quota) == (D(1), D(49))


def test_a_soft_limit_counts_and_never_refuses(book):
    quota = book.quota("1", is_hard=False)
    book.hold("5")
    assert book.used(quota) == (D(5), D(0))


# --- Windows ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("window", ["day", "week", "month"])
def test_a_new_window_begins_empty(book, monkeypatch, window):
    quota = book.quota("1", window=window)
    now = datetime(2026, 3, 18, 12, tzinfo=UTC)
    ends = {"day": day_of, "week": week_of, "month": month_of}[window](now).end
    monkeypatch.setattr(ledger.storage, "now", lambda: ends - timedelta(microseconds=1))
    book.hold("1")
    assert len(book.reserve(book.claim("1"))) == 1
    monkeypatch.setattr(ledger.storage, "now", lambda: ends)
    book.hold("1")
    assert [budget.held for budget in Budget.objects.filter(quota=quota)] == [D(1), D(1)]


def test_a_fixed_window_runs_from_its_start_to_its_expiry_and_binds_in_between_alone(book, monkeypatch):
    start = datetime(2026, 3, 10, 9, tzinfo=UTC)
    end = start + timedelta(days=3, hours=5)
    quota = book.quota("1", window="fixed", starts_at=start, expires_at=end)
    for instant, refused in ((start - timedelta(seconds=1), 0), (start, 0), (end - timedelta(seconds=1), 1), (end, 0)):
        monkeypatch.setattr(ledger.storage, "now", lambda instant=instant: instant)
        assert len(book.reserve(book.claim("1"))) == refused
    assert book.used(quota) == (D(1), D(0))


def test_a_quota_made_in_mid_window_counts_what_was_used_and_is_held_before_it(book):
    settled, open_ = book.hold("1"), book.hold("2")
    book.settle(settled, output=1000)
    quotas = {measure: book.quota("1000000", measure=measure, window="day") for measure in ("usd", "tokens", "jobs")}
    book.hold("0.5")
    assert book.used(quotas["usd"]) == (D("2.5"), D("0.06"))
    assert book.used(quotas["tokens"]) == (D(80_000), D(1000))
    assert book.used(quotas["jobs"]) == (D(2), D(1))
    book.settle(open_, output=500)  # it was held before the quotas were, and is settled on them all the same
    assert book.used(quotas["usd"]) == (D("0.5"), D("0.09"))
    assert book.used(quotas["jobs"]) == (D(1), D(2))


def test_a_quota_that_counts_something_else_now_is_counted_anew(book):
    quota = book.quota("1000000", measure="usd")
    book.settle(book.hold("1"), output=1000)
    quota.measure = "tokens"
    quota.save()
    with transaction.atomic():
        recount(quota)
    book.hold("1")
    assert book.used(quota) == (D(40_000), D(1000))


def test_a_correction_counts_for_project_team_and_organization(book, team, owner):
    by_project, by_team = book.quota("5"), book.quota("5", scope="team", project=None, team=team)
    by_model = book.quota("5", model="o1-preview")
    with transaction.atomic():
        ledger.adjust(book.project, D("1.5"), reason="late truth", actor=owner)
    late = book.quota("5", scope="team", project=None, team=team, window="week")
    book.hold("1", team_id=team.pk)
    assert [book.used(quota) for quota in (by_project, by_team, late)] == [(D(1), D("1.5"))] * 3
    assert book.used(by_model) == (D(1), D(0))


def test_states_show_a_quota_that_was_never_used_by_count(book):
    book.settle(book.hold("1"), output=1000)
    book.hold("2")
    book.quota("5")
    state = states_of(Owner(book.project), timezone.now())[-1]
    assert (state.spent, state.held, state.remaining) == (D("0.06"), D(2), D("2.94"))
    assert state.describe()["resets_at"] == f"{month_of(timezone.now()).end:%Y-%m-%dT%H:%M:%SZ}"


def test_quotas_that_have_not_begun_or_are_over_do_not_bind(book):
    now = timezone.now()
    book.quota("0", starts_at=now + timedelta(hours=1))
    book.quota("0", expires_at=now - timedelta(hours=1))
    assert len(limits_of(Owner(book.project), now)) == 2
    book.hold("1")


# --- What a quota may be ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "fields",
    [
        {"scope": "organization"},  # names a project
        {"scope": "team"},
        {"project": None},
        {"limit": D(-1)},
        {"window": "fixed"},
        {"starts_at": timezone.now(), "expires_at": timezone.now() - timedelta(days=1)},
    ],
)
def test_the_database_refuses_what_no_quota_can_be(book, fields):
    with pytest.raises(IntegrityError), transaction.atomic():
        book.quota("1", **fields)


def test_an_owner_of_another_organization_is_refused_in_words(book, bob):
    quota = Quota(organization=book.project.organization, project=bob.project, limit=D(1))
    with pytest.raises(ValidationError, match="another organization"):
        quota.clean()
    with pytest.raises(ValidationError, match="needs its team"):
        Quota(organization=book.project.organization, scope="team", limit=D(1)).clean()
    with pytest.raises(ValidationError, match="has no project"):
        Quota(organization=bob.organization, scope="organization", project=bob.project, limit=D(1)).clean()
