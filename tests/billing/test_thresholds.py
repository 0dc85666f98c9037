"""Limits that fill up are told once for each percentage and window, by what the books noted as the money moved."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.db import connection

from accounts import audit, audit_verification
from accounts.audit import SERVICE
from accounts.models import AuditAction, Membership, Organization, Role, Team, User
from billing import mails, tasks, thresholds, unusual, verifications, watching
from billing.budgets import refresh_limits
from billing.clock import database_now
from billing.models import Alert, AlertKind, AlertSettings, Budget, Crossing, DayRollup, Measure, Scope
from billing.models.rollups import TOTALS
from billing.quotas import asking
from tests.billing.conftest import Book, as_owner


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch) -> None:
    monkeypatch.setattr("billing.alerts.current_app.send_task", lambda *a, **k: None)


def spend(book: Book, tokens: int) -> None:
    """Settles a call of so many reasoning tokens' worth of output."""
    book.settle(book.hold("5", output=tokens), output=tokens)


def told(kind: AlertKind = AlertKind.THRESHOLD) -> list[int]:
    return list(Alert.objects.filter(kind=kind).order_by("raised_at", "id").values_list("data__percent", flat=True))


def jobs_quota(book: Book, limit: int, **more):
    return book.quota(str(limit), measure=Measure.JOBS, **more)


def test_each_percentage_is_told_once_as_it_is_crossed(book: Book):
    jobs_quota(book, 20)
    seen = []
    for _ in range(20):
        spend(book, 10)
        thresholds.tell()
        seen.append(len(told()))
    assert told() == [50, 75, 90, 100]
    assert [number for number, more in enumerate(zip([0, *seen], seen, strict=False), 1) if more[1] > more[0]] == [
        10,
        15,
        18,
        20,
    ]
    alert = Alert.objects.get(data__percent=90)
    assert alert.text.startswith("90 % of the limit of 20 jobs a month for Alice research is reached: 18 jobs spent.")
    assert alert.data["limit"] | {"spent": "18", "limit": "20", "measure": "jobs"} == alert.data["limit"]
    assert alert.project == book.project


def test_a_jump_over_several_tells_the_highest_alone(book: Book):
    book.quota("1000", measure=Measure.OUTPUT_TOKENS, is_hard=False)
    spend(book, 950)
    assert Crossing.objects.count() == 3
    thresholds.tell()
    thresholds.tell()
    assert told() == [90]


def test_exactly_the_percentage_is_told_and_one_less_is_not(book: Book):
    book.quota("1000", measure=Measure.OUTPUT_TOKENS)
    spend(book, 499)
    assert Crossing.objects.count() == 0
    spend(book, 1)
    assert list(Crossing.objects.values_list("percent", flat=True)) == [50]


def test_what_is_held_and_given_back_crosses_nothing(book: Book):
    jobs_quota(book, 2)
    first, second = book.hold("1"), book.hold("1")
    book.release(first)
    book.release(second)
    assert Crossing.objects.count() == 0


def test_the_next_window_is_told_anew(book: Book, monkeypatch):
    jobs_quota(book, 1, window="day")
    spend(book, 10)
    thresholds.tell()
    assert told() == [100]
    tomorrow = database_now() + timedelta(days=1)
    monkeypatch.setattr("billing.storage.now", lambda: tomorrow)
    spend(book, 10)
    thresholds.tell()
    assert told() == [100, 100]


def test_an_organization_is_told_what_it_chose(book: Book, organization: Organization):
    AlertSettings.objects.create(organization=organization, percents=[75])
    jobs_quota(book, 4)
    for _ in range(4):
        spend(book, 10)
        thresholds.tell()
    assert told() == [75]
    assert not Crossing.objects.filter(told_at=None).exists()


def test_a_lowered_limit_is_told_within_a_minute(book: Book, organization: Organization):
    quota = jobs_quota(book, 10)
    for _ in range(4):
        spend(book, 10)
    quota.limit = Decimal(5)
    quota.save()
    refresh_limits(organization, database_now())
    assert told() == []
    tasks.watch_limits.run()
    thresholds.tell()
    watching.watch_limits()
    thresholds.tell()
    assert told() == [75]


def test_a_raised_limit_is_told_as_it_stands(book: Book, owner):
    quota = jobs_quota(book, 10)
    request = asking.ask(quota, Decimal(10), reason="the evaluation", asked_by=owner, by=SERVICE)
    asking.approve(request, decider=owner, by=SERVICE)
    for _ in range(10):
        spend(book, 10)
    thresholds.tell()
    (alert,) = Alert.objects.filter(kind=AlertKind.THRESHOLD)
    assert (alert.data["percent"], alert.data["limit"]["limit"]) == (50, "20")
    assert alert.text.startswith("50 % of the limit of 20 jobs a month")


def test_a_call_that_must_wait_is_told_once(book: Book):
    book.quota("1")
    for _ in range(3):
        (refusal,) = book.reserve(book.claim("1.01"))
        assert refusal.is_final
        thresholds.tell()
    (alert,) = Alert.objects.filter(kind=AlertKind.EXHAUSTED)
    assert "A call of Alice research waits" in alert.text


def test_a_call_that_waits_for_others_to_end_is_not_told(book: Book):
    """Their holds are given back in a moment; nobody has to do anything."""
    book.quota("1")
    book.hold("0.6")
    (refusal,) = book.reserve(book.claim("0.6"))
    assert not refusal.is_final
    assert Crossing.objects.count() == 0


def test_what_is_crossed_is_noted_by_the_statement_that_moves_the_budgets(book: Book):
    jobs_quota(book, 2)
    spend(book, 10)
    reference = book.hold("5", output=10)
    statements = _Statements()
    with connection.execute_wrapper(statements):
        book.settle(reference, output=10)
    assert sum("billing_crossing" in statement for statement in statements.seen) == 1
    assert Crossing.objects.filter(percent=100).count() == 1


class _Statements:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, execute, sql, params, many, context):
        self.seen.append(sql)
        return execute(sql, params, many, context)


def test_the_leads_of_a_team_are_mailed_about_its_quota(book: Book, organization: Organization, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    team = Team.objects.create(organization=organization, name="Research")
    lead = User.objects.create_user("lead@alice.example", "a password for tests")
    team.leads.add(Membership.objects.create(organization=organization, user=lead, role=Role.MEMBER))
    book.project.team = team
    book.project.save()
    jobs_quota(book, 1, scope=Scope.TEAM, team=team, project=None)
    claim = book.claim("1", output=10, team_id=team.pk)
    assert book.reserve(claim) == []
    book.settle(claim.reference, output=10)
    thresholds.tell()
    assert mails.mail_alerts() == 1
    assert mail.outbox[0].bcc == ["lead@alice.example", "owner@alice.example"]


def test_several_alerts_of_one_organization_are_one_mail(book: Book, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    jobs_quota(book, 1)
    jobs_quota(book, 2)
    spend(book, 10)
    thresholds.tell()
    assert mails.mail_alerts() == 2
    (message,) = mail.outbox
    assert message.subject == "Bursar: 2 alerts, Alice"
    assert "100 % of the limit of 1 job" in message.body
    assert "50 % of the limit of 2 jobs" in message.body


# --- Forecasts, unusual days, doubts ----------------------------------------------------------------------------------
@pytest.fixture
def _relearnt():
    watching._paces.forget()
    yield
    watching._paces.forget()


def used_before(book: Book, usd: int, days: int = 28) -> None:
    """So many dollars, and as many calls, on each of the days before today."""
    today = database_now().date()
    for ago in range(1, days + 1):
        totals = {**dict.fromkeys(TOTALS, 0), "calls": usd, "total_usd": Decimal(usd)}
        DayRollup.objects.create(
            organization=book.project.organization, project=book.project, day=today - timedelta(days=ago), **totals
        )


def with_days_left(days: int, behind: int = 10) -> datetime:
    """Makes the open windows of quotas end in so many days, so that the day of the test does not matter."""
    now = database_now()
    Budget.objects.filter(quota__isnull=False).update(
        window_start=now - timedelta(days=behind), window_end=now + timedelta(days=days)
    )
    return now


@pytest.mark.usefixtures("_relearnt")
def test_a_limit_that_will_not_last_is_told_once(book: Book, organization: Organization):
    used_before(book, 2)
    jobs_quota(book, 21)
    spend(book, 10)
    now = with_days_left(20)
    assert watching.foresee() == 1
    assert watching.foresee() == 1
    (alert,) = Alert.objects.filter(kind=AlertKind.FORECAST)
    # Two jobs a day, twenty are left: on the tenth day.
    reached = datetime.fromisoformat(alert.data["expected_at"])
    assert abs(reached - (now + timedelta(days=10))) < timedelta(minutes=1)
    assert (alert.data["forecast"], "will not last" in alert.text) == ("41", True)
    assert alert.data["earliest_at"] == alert.data["latest_at"] == alert.data["expected_at"]
    AlertSettings.objects.create(organization=organization, tells_forecasts=False)
    assert watching.foresee() == 0


@pytest.mark.usefixtures("_relearnt")
@pytest.mark.parametrize(("limit", "days", "is_told"), [(42, 28, False), (40, 28, True), (21, 4, False), (21, 5, True)])
def test_what_lasts_or_is_not_known_is_not_told(book: Book, limit: int, days: int, is_told: bool):
    used_before(book, 2, days)
    jobs_quota(book, limit)
    spend(book, 10)
    with_days_left(20)
    assert (watching.foresee() == 1) is is_told


@pytest.mark.usefixtures("_relearnt")
def test_early_in_a_window_only_what_is_sure_is_told(book: Book):
    """Days of one job or seven: eighty in twenty days, give or take sixty."""
    today = database_now().date()
    used_before(book, 1)
    odd = [today - timedelta(days=ago) for ago in range(1, 29) if ago % 2]
    DayRollup.objects.filter(day__in=odd).update(calls=7)
    quota = jobs_quota(book, 78)
    spend(book, 10)
    with_days_left(20, behind=1)
    assert watching.foresee() == 0
    Budget.objects.filter(quota=quota).update(limit=10)
    assert watching.foresee() == 1


@pytest.mark.usefixtures("_relearnt")
def test_paces_are_learnt_once_a_day(book: Book):
    used_before(book, 2)
    jobs_quota(book, 21)
    spend(book, 10)
    with_days_left(20)
    watching.foresee()
    statements = _Statements()
    with connection.execute_wrapper(statements):
        assert watching.foresee() == 1
    assert not [statement for statement in statements.seen if "rollup" in statement]


def test_unusual_is_far_above_the_median_of_the_days_before():
    even = [Decimal(10)] * 28
    assert unusual.unusual_above(even) == 20
    uneven = [Decimal(8), Decimal(12)] * 14
    assert unusual.unusual_above(uneven) == 22
    assert unusual.unusual_above([*even[:27], Decimal(10_000)]) == 20
    assert unusual.unusual_above([Decimal(10)] * 13 + [Decimal(0)] * 15) is None
    assert unusual.unusual_above([Decimal("0.01")] * 28) == 1


def test_an_unusual_day_of_a_project_is_told_once(book: Book):
    today = database_now().date()
    zeros = dict.fromkeys({*TOTALS} - {"total_usd"}, 0)
    for ago in range(29):
        DayRollup.objects.create(
            organization=book.project.organization,
            project=book.project,
            day=today - timedelta(days=ago),
            total_usd=Decimal(100) if ago == 0 else Decimal(10),
            **zeros,
        )
    tasks.watch_spend.run()
    assert watching.watch_spend() == 1
    (alert,) = Alert.objects.filter(kind=AlertKind.ANOMALY)
    assert (alert.data["spent_usd"], alert.data["unusual_above_usd"]) == ("100.00", "20.00")


def test_many_doubts_are_told_once_a_day(book: Book, organization: Organization):
    AlertSettings.objects.create(organization=organization, doubts_count=2, doubts_usd=Decimal(100))
    book.doubt(book.hold("1"))
    assert watching.doubt() == 0
    book.doubt(book.hold("2"))
    assert (watching.doubt(), watching.doubt()) == (1, 1)
    (alert,) = Alert.objects.filter(kind=AlertKind.DOUBTS)
    assert alert.data == {"doubts": 2, "held_usd": "3.00"}


def test_a_book_that_does_not_verify_is_told_once_a_day(book: Book, organization: Organization):
    book.settle(book.hold("1"), output=100)
    verifications.verify_every_book()
    assert not Alert.objects.filter(kind=AlertKind.BROKEN).exists()
    as_owner("UPDATE billing_ledgerentry SET reason = 'x' WHERE sequence = 1")
    verifications.verify_every_book()
    verifications.verify_every_book()
    (alert,) = Alert.objects.filter(kind=AlertKind.BROKEN)
    assert alert.organization == organization
    assert "book does not verify" in alert.text
    assert "chain, line 1" in alert.text


def test_an_audit_trail_that_does_not_verify_is_told_once(book: Book, organization: Organization):
    audit.record_about(organization, AuditAction.UPDATED, by=audit.Who(), after={"name": "Quills"})
    audit_verification.verify()
    assert watching.watch_trails() == 0
    with connection.cursor() as cursor:
        cursor.execute("GRANT UPDATE ON accounts_auditentry TO CURRENT_USER")
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE accounts_auditentry SET reason = 'x'")
        cursor.execute("SET session_replication_role = DEFAULT")
    audit_verification.verify()
    assert (watching.watch_trails(), watching.watch_trails()) == (1, 1)
    (alert,) = Alert.objects.filter(kind=AlertKind.BROKEN)
    assert "audit trail does not verify" in alert.text
