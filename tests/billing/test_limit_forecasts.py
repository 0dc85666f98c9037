"""Which history a limit's forecast goes by: its own owner's, in its own measure, from rollups alone."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Organization, Team
from billing import hourly
from billing.budgets import limits_of
from billing.clock import database_now
from billing.limits import Limit, Owner
from billing.models import HourRollup, Measure, Scope, UsageRecord
from billing.outlook.histories import paces_of
from billing.rollups import rebuild
from tests.billing.conftest import Book

DAYS = 20


def used(book: Book, *, member_id: int | None = None, team_id: UUID | None = None, hour: int = 9, output: int = 1000):
    """One call on each of the days before today, in this hour, of 1,000 output tokens, which cost six cents."""
    claim = book.claim("5", output=output, member_id=member_id, team_id=team_id)
    assert book.reserve(claim) == []
    record = book.settle(claim.reference, output=output, reasoning=output // 2)
    today = database_now().astimezone(UTC).replace(hour=hour, minute=30, second=0, microsecond=0)
    copied = []
    for ago in range(1, DAYS + 1):
        at = today - timedelta(days=ago)
        copied.append(copy_of(record, at))
    rebuild(book.project.organization)
    return copied


def copy_of(record: UsageRecord, at: datetime) -> UsageRecord:
    """The same call at another instant; its reservation is copied as well."""
    reservation = record.reservation
    reservation.pk, reservation.reference = None, UUID(int=int(at.timestamp()) * 1000 + (record.member_id or 0))
    reservation._state.adding = True
    reservation.id = UUID(int=reservation.reference.int + 1)
    reservation.save(force_insert=True)
    made = UsageRecord.objects.get(pk=record.pk)
    made.pk, made.id = UUID(int=reservation.reference.int + 2), UUID(int=reservation.reference.int + 2)
    made.reservation, made.booked_at = reservation, at
    made._state.adding = True
    made.save(force_insert=True)
    return made


def limits(book: Book, **of) -> list[Limit]:
    project = book.project
    return list(limits_of(Owner(project, of.get("team_id"), of.get("member_id")), database_now()))


def usual(book: Book, **of) -> dict[tuple[str, str], Decimal]:
    found = limits(book, **of)
    paces = paces_of(found, database_now())
    today = database_now().date()
    return {
        (limit.scope.value, limit.measure.value): round(pace.usual(today), 6)
        for limit in found
        if (pace := paces[limit.key])
    }


def test_each_measure_has_its_own(book: Book):
    for measure in set(Measure) - {Measure.RESERVE}:
        book.quota("100000", measure=measure, window="week")
    used(book)
    assert usual(book) == {
        ("organization", "usd"): Decimal("0.06"),
        ("project", "usd"): Decimal("0.06"),
        ("project", "tokens"): 1000,
        ("project", "output_tokens"): 1000,
        ("project", "reasoning_tokens"): 500,
        ("project", "jobs"): 1,
    }


def test_each_owner_has_its_own(book: Book, organization: Organization, owner):
    team = Team.objects.create(organization=organization, name="Numbers")
    jobs = {"measure": Measure.JOBS, "project": None}
    book.quota("100", scope=Scope.ORGANIZATION, **jobs)
    book.quota("100", scope=Scope.TEAM, team=team, **jobs)
    book.quota("100", scope=Scope.MEMBER, member=owner, **jobs)
    book.quota("100", scope=Scope.ORGANIZATION, model="no-such-model", **{**jobs, "measure": Measure.TOKENS})
    used(book)
    used(book, member_id=owner.pk)
    used(book, member_id=owner.pk, team_id=team.pk, hour=10)
    found = usual(book, team_id=team.pk, member_id=owner.pk)
    assert found["organization", "jobs"] == 3
    assert found["team", "jobs"] == 1
    assert found["member", "jobs"] == 2
    assert ("organization", "tokens") not in found


def test_as_many_queries_however_many_limits(book: Book):
    used(book)
    few, now = limits(book), database_now()
    with CaptureQueriesContext(connection) as of_few:
        paces_of(few, now)
    for amount in range(1, 20):
        book.quota(str(amount))
    many = limits(book)
    with CaptureQueriesContext(connection) as of_many:
        paces_of(many, now)
    assert len(many) == len(few) + 19
    assert len(of_many) == len(of_few)
    assert not [query for query in of_many if "usagerecord" in query["sql"]]


# --- Hours ------------------------------------------------------------------------------------------------------------
def test_hours_are_noted_for_limits_of_a_day_alone(book: Book):
    used(book)
    assert hourly.note_days() == 0
    book.quota("100", window="day")
    assert hourly.note_days() == DAYS
    rows = list(HourRollup.objects.order_by("hour"))
    assert len(rows) == DAYS
    assert {(row.hour.astimezone(UTC).hour, row.calls, row.output_tokens) for row in rows} == {(9, 1, 1000)}
    assert hourly.note_days() == 0


def test_what_comes_late_is_noted(book: Book):
    book.quota("100", window="day")
    records = used(book)
    hourly.note_days()
    yesterday = records[0].booked_at
    copy_of(records[0], yesterday.replace(hour=20))
    rebuild(book.project.organization)
    assert hourly.note_days() == 1
    found = HourRollup.objects.filter(hour__date=yesterday.date()).order_by("hour")
    assert [(row.hour.astimezone(UTC).hour, row.calls) for row in found] == [(9, 1), (20, 1)]


def test_what_no_forecast_reads_is_forgotten(book: Book):
    book.quota("100", window="day")
    (record, *_) = used(book)
    old = database_now() - timedelta(days=40)
    hourly.note_day(book.project.organization_id, record.booked_at.date())
    HourRollup.objects.update(hour=old)
    hourly.note_days()
    assert not HourRollup.objects.filter(hour__lte=old).exists()


def test_a_limit_of_a_day_goes_by_hours_and_others_do_not(book: Book):
    book.quota("100", window="day")
    book.quota("100", window="week")
    used(book)
    hourly.note_days()
    found = {limit.key: limit for limit in limits(book)}
    for key, pace in paces_of(list(found.values()), database_now()).items():
        is_of_a_day = found[key].window.end - found[key].window.start == timedelta(days=1)
        assert pace is not None
        assert (pace.shape is not None) is is_of_a_day
        if pace.shape:
            assert pace.shape.of(database_now().date())[9] == 1
