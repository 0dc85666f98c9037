"""Quotas made, changed, ended and raised for a while, one at a time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.access import Capability, may
from accounts.audit import SERVICE, Who
from accounts.models import AuditEntry, Membership, Role, Team, User
from billing import ledger
from billing.budgets import refresh_limits, states_of
from billing.errors import AlreadyAsked, NotAllowed, OwnRequest, RequestDecided
from billing.limits import Owner
from billing.models import Budget, Quota, QuotaRequest
from billing.quotas import asking, changes, news, rights

D = Decimal


def new(book, limit: str = "5", **fields) -> Quota:
    given = {"organization": book.project.organization, "project": book.project, "limit": D(limit), **fields}
    return changes.create(Quota(**given), by=SERVICE)


def person(book, name: str, role: Role = Role.MEMBER) -> User:
    user = User.objects.create_user(f"{name}@alice.example", "a password for tests")
    Membership.objects.create(organization=book.project.organization, user=user, role=role)
    return user


@pytest.fixture
def team(book) -> Team:
    team = Team.objects.create(organization=book.project.organization, name="Numbers")
    book.project.team = team
    book.project.save()
    return team


@pytest.fixture
def member(book, team) -> User:
    user = person(book, "mia")
    team.members.add(user.memberships.get())
    return user


@pytest.fixture
def lead(book, team) -> User:
    user = person(book, "lea")
    team.leads.add(user.memberships.get())
    return user


def ask(quota: Quota, by: User, amount: str = "3", **more) -> QuotaRequest:
    return asking.ask(quota, D(amount), reason="the evaluation", asked_by=by, by=SERVICE, **more)


def approve(request: QuotaRequest, by: User, **more) -> QuotaRequest:
    return asking.approve(request, decider=by, by=SERVICE, **more)


# --- Made, changed, ended ---------------------------------------------------------------------------------------------
def test_a_new_quota_counts_what_is_held_and_refuses_from_then_on(book, owner):
    book.hold("4")
    quota = new(book)
    assert book.used(quota) == (D(4), D(0))
    assert len(book.reserve(book.claim("1.000000000001"))) == 1
    book.hold("1")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.subject_type, entry.subject_id) == ("created", "quota", str(quota.pk))
    assert entry.after["limit"] == "5.00"


def test_a_changed_limit_binds_at_once_and_says_who_changed_what(book, owner):
    quota = new(book)
    changes.change(quota, {"limit": D("0.5"), "is_hard": True}, by=Who(user=owner))
    assert Budget.objects.get(quota=quota).limit == D("0.5")
    assert len(book.reserve(book.claim("0.6"))) == 1
    entry = AuditEntry.objects.first()
    assert (entry.before, entry.after, entry.actor) == ({"limit": "5.00"}, {"limit": "0.50"}, owner)


def test_setting_what_is_already_so_is_no_change(book):
    quota = new(book)
    changes.change(quota, {"limit": D(5)}, by=SERVICE)
    assert AuditEntry.objects.count() == 1


def test_another_measure_is_counted_anew(book):
    quota = new(book, "100000")
    book.settle(book.hold("1"), output=1000)
    changes.change(quota, {"measure": "tokens"}, by=SERVICE)
    assert book.used(quota) == (D(0), D(1000))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"limit": D(-1)}, "limit"),
        ({"limit": D("1.5"), "measure": "jobs"}, "limit"),
        ({"limit": D(10) ** 13}, "limit"),
        ({"limit": D(1) / 10**13}, "limit"),
        ({"model": "o1-previw"}, "model"),
        ({"scope": "team"}, "team"),
        ({"window": "fixed"}, "window"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at"),
        ({"measure": "euros"}, "measure"),
    ],
)
def test_what_no_quota_can_be_is_said_by_field(book, fields, field):
    with pytest.raises(ValidationError) as caught:
        new(book, **{"limit": "5", **fields})
    assert field in caught.value.message_dict
    assert not Quota.objects.exists()


def test_a_quota_that_was_used_is_ended_and_kept_and_one_that_never_was_is_deleted(book):
    used, unused = new(book), new(book, measure="jobs")
    changes.remove(unused, by=SERVICE)
    book.settle(book.hold("1"), output=1000)
    kept = changes.remove(used, by=SERVICE)
    assert list(Quota.objects.values_list("pk", flat=True)) == [used.pk]
    assert kept.expires_at is not None
    assert book.used(used) == (D(0), D("0.06"))
    assert [state.limit.origin for state in states_of(Owner(book.project), timezone.now())] == ["usage tier 5"] * 2
    assert [entry.action for entry in AuditEntry.objects.order_by("id")][-2:] == ["deleted", "updated"]


def test_a_fixed_window_ends_with_its_quota(book):
    now = timezone.now()
    quota = new(book, window="fixed", starts_at=now - timedelta(days=1), expires_at=now + timedelta(days=9))
    book.settle(book.hold("1"), output=1000)
    ended = changes.expire(quota, by=SERVICE)
    budget = Budget.objects.get(quota=quota)
    assert (budget.window_end, budget.spent) == (ended.expires_at, D("0.06"))


def test_whoever_waits_for_a_budget_is_looked_at_once_a_limit_has_changed(
    book, monkeypatch, django_capture_on_commit_callbacks
):
    sent = []
    monkeypatch.setattr(news, "_send", lambda task, subject: sent.append((task, subject)))
    with django_capture_on_commit_callbacks(execute=True):
        quota = new(book)
        changes.change(quota, {"limit": D(9)}, by=SERVICE)
        changes.remove(quota, by=SERVICE)
    assert sent == [(news.LIMITS_CHANGED, book.project.organization_id)] * 3


# --- Raised for a while -----------------------------------------------------------------------------------------------
def test_an_approved_request_raises_the_limit_until_its_end_and_not_a_call_longer(book, member, lead, monkeypatch):
    now = timezone.now()
    quota = new(book, window="fixed", starts_at=now - timedelta(days=1), expires_at=now + timedelta(days=9))
    until = now + timedelta(hours=1)
    request = approve(ask(quota, member, until=until), lead)
    assert (request.status, request.granted_amount, request.granted_until) == ("approved", D(3), until)
    assert Budget.objects.get(quota=quota).limit == D(8)
    assert [state.limit.amount for state in states_of(Owner(book.project), timezone.now())][-1] == D(8)
    book.hold("8")
    assert len(book.reserve(book.claim("0.000000000001"))) == 1
    refresh_limits(book.project.organization, timezone.now())
    assert Budget.objects.get(quota=quota).limit == D(8)
    monkeypatch.setattr(ledger.storage, "now", lambda: until)  # over: above its limit, which stops new calls only
    (refusal,) = book.reserve(book.claim("0.01"))
    assert (refusal.describe()["limit"], refusal.describe()["held"]) == ("5.00", "8.00")
    assert Budget.objects.get(quota=quota).limit == D(5)


def test_raises_add_up_and_another_amount_may_be_approved(book, member, lead, owner):
    quota = new(book)
    approve(ask(quota, member), lead)
    approve(ask(quota, lead, "2"), owner, amount=D("0.25"), note="a little")
    assert Budget.objects.get(quota=quota).limit == D("8.25")
    request = QuotaRequest.objects.get(asked_by=lead)
    assert (request.amount, request.granted_amount, request.note) == (D(2), D("0.25"), "a little")
    asking.end_raise(QuotaRequest.objects.get(asked_by=member), person=owner, by=SERVICE)
    assert Budget.objects.get(quota=quota).limit == D("5.25")


def test_an_approval_writes_the_limit_as_it_stands_and_not_as_it_was_read(book, member, lead):
    quota = new(book)
    request = ask(quota, member)
    changes.change(quota, {"limit": D(1)}, by=SERVICE)
    assert request.quota.limit == D(5)
    approve(request, lead)
    assert Budget.objects.get(quota=quota).limit == D(4)


def test_the_beat_takes_raises_that_are_over_off_and_ends_what_nobody_decided(book, member, lead):
    quota = new(book)
    approve(ask(quota, member), lead)
    asked = ask(quota, member)
    past = timezone.now() - timedelta(seconds=5)
    QuotaRequest.objects.filter(status="approved").update(decided_at=past, granted_until=past)
    QuotaRequest.objects.filter(pk=asked.pk).update(until=past)
    asking.expire_due()
    assert Budget.objects.get(quota=quota).limit == D(5)
    asked.refresh_from_db()
    assert asked.status == "expired"
    with pytest.raises(RequestDecided):
        approve(asked, lead, until=timezone.now() + timedelta(days=1))


@pytest.mark.parametrize(
    ("amount", "more", "field"),
    [
        ("0", {}, "amount"),
        ("-1", {}, "amount"),
        ("999999999999", {}, "amount"),
        ("1", {"until": datetime(2020, 1, 1, tzinfo=UTC)}, "until"),
        ("1", {"until": datetime(2999, 1, 1, tzinfo=UTC)}, "until"),
    ],
)
def test_what_cannot_be_asked_for_is_said_by_field(book, member, amount, more, field):
    with pytest.raises(ValidationError) as caught:
        ask(new(book), member, amount, **more)
    assert field in caught.value.message_dict


def test_nobody_asks_twice_for_the_same_and_what_is_withdrawn_may_be_asked_anew(book, member, lead):
    quota = new(book)
    request = ask(quota, member)
    with pytest.raises(AlreadyAsked):
        ask(quota, member)
    with pytest.raises(NotAllowed):
        asking.withdraw(request, person=lead, by=SERVICE)
    asking.withdraw(request, person=member, by=SERVICE)
    with pytest.raises(RequestDecided):
        approve(request, lead)
    ask(quota, member)


def test_a_refusal_says_why_and_changes_nothing(book, member, lead):
    quota = new(book)
    request = ask(quota, member)
    with pytest.raises(ValidationError, match="Say why"):
        asking.refuse(request, decider=lead, by=SERVICE, note=" ")
    asking.refuse(request, decider=lead, by=SERVICE, note="in October")
    assert Budget.objects.get(quota=quota).limit == D(5)
    entry = AuditEntry.objects.first()
    assert (entry.action, entry.after["status"], entry.reason) == ("decided", "refused", "in October")


# --- Who may ----------------------------------------------------------------------------------------------------------
def test_a_lead_decides_within_the_team_and_nothing_above_or_beside_it(book, team, member, lead, owner, api_key):
    organization = book.project.organization
    beside = Team.objects.create(organization=organization, name="Letters")
    other = organization.projects.create(name="Other", slug="other", team=beside)
    within = [
        new(book, scope="team", project=None, team=team),
        new(book),
        new(book, scope="key", project=None, api_key=api_key.api_key),
    ]
    outside = [
        new(book, scope="organization", project=None),
        new(book, scope="team", project=None, team=beside),
        new(book, project=other),
        new(book, scope="member", project=None, member=member),
    ]
    assert [rights.may_manage(lead, quota) for quota in [*within, *outside]] == [True] * 3 + [False] * 4
    assert set(rights.manageable(lead)) == set(within)
    assert set(rights.manageable(owner)) == {*within, *outside}
    assert not rights.manageable(member).exists()
    with pytest.raises(NotAllowed):
        approve(ask(outside[0], member), lead)
    assert Budget.objects.get(quota=outside[0]).limit == D(5)


def test_nobody_decides_about_their_own_but_an_owner(book, lead, owner):
    quota = new(book)
    with pytest.raises(OwnRequest):
        approve(ask(quota, lead), lead)
    approve(ask(quota, owner), owner)


def test_a_viewer_neither_asks_nor_decides(book):
    viewer = person(book, "vic", Role.VIEWER)
    assert may(viewer, Capability.SEE, book.project.organization_id)
    with pytest.raises(NotAllowed):
        ask(new(book), viewer)


def test_another_organization_sees_nothing(book, bob, member):
    request = ask(new(book), member)
    assert not rights.visible(bob.owner).exists()
    assert not rights.visible_requests(bob.owner).exists()
    with pytest.raises(NotAllowed):
        approve(request, bob.owner)


# --- Told -------------------------------------------------------------------------------------------------------------
def test_deciders_are_told_of_a_request_and_who_asked_of_the_decision(book, member, lead, owner, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    request = ask(new(book), member)
    assert news.mail(request.pk) == 2
    assert sorted(mail.outbox[0].bcc) == sorted([lead.email, owner.email])
    approve(request, lead, note="go on")
    assert news.mail(request.pk) == 1
    assert mail.outbox[1].bcc == [member.email]
    assert "go on" in mail.outbox[1].body
    assert "3.00 USD more" in mail.outbox[1].body


def test_raises_are_read_with_the_limits_and_not_by_another_question(book, member, lead):
    quota = new(book)

    def questions() -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            states_of(Owner(book.project), timezone.now())
        return [query["sql"] for query in captured]

    before = questions()
    approve(ask(quota, member), lead)
    assert len(questions()) == len(before)
    assert sum("billing_quotarequest" in sql for sql in before) == 1
