"""What is open today, by the service's own functions: quotas, corrections, doubts, what waits, what the bill says."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from accounts import audit
from accounts.audit import Who
from accounts.models import AuditAction, Project, User
from accounts.provider_accounts import account_of
from billing import alerts, books, closing, ledger, verifications
from billing.budgets import open_accounts, state_of
from billing.clock import database_now
from billing.limits import Owner, limit_of
from billing.models import Origin, Quota, UsageRecord
from billing.models.budgets import Measure, Scope, WindowKind
from billing.models.reconciliations import TO_DECIDE
from billing.periods import month_of
from billing.prices import price_on, terms_of
from billing.pricing import bound_usd
from billing.reconciliation import decisions as differences
from billing.reconciliation import runs
from billing.reconciliation.bills import BilledCost, BilledUsage, ProviderBill
from billing.reconciliation.figures import Figures
from jobs.catalogue import family_of
from jobs.demo_data import working
from jobs.demo_data.people import Cast
from jobs.models import Attempt, Doubt, Job, JobContent
from jobs.queues import queue_of
from jobs.recovery import decisions
from jobs.states import AttemptStatus, DoubtStatus, JobStatus

MODEL = "gpt-5.6-terra"
INPUT, OUTPUT = 3000, 6000
BILLED_DAYS = 6
CENT = Decimal("0.01")
USED_UP = 100
LEAST = {
    Measure.USD: Decimal(2),
    Measure.TOKENS: Decimal(1_000_000),
    Measure.OUTPUT_TOKENS: Decimal(200_000),
    Measure.REASONING_TOKENS: Decimal(100_000),
    Measure.JOBS: Decimal(50),
    Measure.RESERVE: Decimal(25),
}
# Scope, measure, window, whether it is hard, and how full it is.
QUOTAS: Sequence[tuple[Scope, Measure, WindowKind, bool, int]] = (
    (Scope.ORGANIZATION, Measure.USD, WindowKind.MONTH, False, 70),
    (Scope.TEAM, Measure.USD, WindowKind.MONTH, True, 96),
    (Scope.PROJECT, Measure.USD, WindowKind.MONTH, True, USED_UP),
    (Scope.PROJECT, Measure.REASONING_TOKENS, WindowKind.WEEK, False, 55),
    (Scope.PROJECT, Measure.JOBS, WindowKind.DAY, True, 30),
    (Scope.MEMBER, Measure.TOKENS, WindowKind.MONTH, True, 62),
    (Scope.KEY, Measure.OUTPUT_TOKENS, WindowKind.WEEK, True, 81),
)


def make(cast: Cast) -> None:
    """All of it, in the transaction that made the organization."""
    command = audit.command_line()
    finance = cast.people["finance"]
    closing.close_over(cast.organization, by=finance, who=command)
    projects = list(cast.projects.values())
    _correct(projects[0], finance)
    _doubts(cast, finance, command)
    _quotas(cast, command)
    _pause(cast, command)
    _wait(cast)
    working.ask_for_more(cast, command)
    working.review(cast, command)
    endpoint = working.add_endpoint(cast, command)
    _tell_overruns(cast)
    _compare(cast, finance, command)
    working.stop_endpoint(cast, endpoint, command)


def verify(cast: Cast) -> None:
    """So that the pages about verifications have one; the night looks at every book."""
    verifications.carry_out(verifications.ask(cast.organization, Origin.COMMAND).pk)


def _quotas(cast: Cast, by: Who) -> None:
    """Of every scope, each as full as it shall be, one that begins next month, and a reserve."""
    now = database_now()
    books.lock([cast.organization.pk])
    for number, (scope, measure, window, is_hard, percent) in enumerate(QUOTAS):
        _quota(
            cast, _owner(cast, scope, number, percent), measure, window, percent, now, by, scope=scope, is_hard=is_hard
        )
    start = month_of(now).end
    fixed = {"starts_at": start, "expires_at": start + timedelta(days=14)}
    owner = _owner(cast, Scope.PROJECT, 0, 0)
    _quota(cast, owner, Measure.USD, WindowKind.FIXED, 50, now, by, scope=Scope.PROJECT, **fixed)
    kept = {"scope": Scope.ORGANIZATION, "risk": Decimal("0.01")}
    _quota(cast, {}, Measure.RESERVE, WindowKind.MONTH, 50, now, by, **kept)


def _quota(
    cast: Cast,
    owner: dict[str, Any],
    measure: Measure,
    window: WindowKind,
    percent: int,
    now: datetime,
    by: Who,
    **given: Any,
) -> None:
    quota = Quota(organization=cast.organization, measure=measure, window=window, limit=Decimal(100), **owner, **given)
    binds = quota.starts_at is None or quota.starts_at <= now
    quota.save()
    if binds:
        state = state_of(limit_of(quota, now), None)
        used = state.spent + state.held
        full = (used * 100 / percent).quantize(CENT if measure == Measure.USD else Decimal(1))
        # One that is used up leaves nothing; the others have room even at the beginning of their window.
        quota.limit = used if percent == USED_UP else max(full, used, LEAST[measure])
        quota.save()
        open_accounts([limit_of(quota, now)])
    after = {"scope": quota.scope, "measure": quota.measure, "window": quota.window, "limit": quota.limit}
    audit.record_about(quota, AuditAction.CREATED, by=by, after=after, reason="demo data")


def _owner(cast: Cast, scope: Scope, number: int, percent: int) -> dict[str, Any]:
    projects = list(cast.projects.values())
    match scope:
        case Scope.TEAM:
            return {"team": next(project.team for project in projects if project.team)}
        case Scope.PROJECT:
            return {"project": _spent_up(cast) if percent == USED_UP else projects[number % len(projects)]}
        case Scope.MEMBER:
            return {"member": cast.people["member"]}
        case Scope.KEY:
            return {"api_key": next(iter(cast.keys.values()))[0]}
    return {}


def _spent_up(cast: Cast) -> Project:
    """The project whose quota is used up: the last one, so that the first has room."""
    return list(cast.projects.values())[-1]


def _pause(cast: Cast, by: Who) -> None:
    for plan in cast.plan.projects:
        if plan.paused:
            project = cast.projects[plan.name]
            project.paused_at, project.paused_reason = database_now(), plan.paused
            project.save(update_fields=["paused_at", "paused_reason"])
            after = {"paused_reason": plan.paused}
            audit.record_about(project, AuditAction.UPDATED, by=by, after=after, reason="demo data")


def _correct(project: Project, finance: User) -> None:
    """Two corrections: one of this month, and one about a month that is closed."""
    before = month_of(database_now()).start - timedelta(days=3)
    ledger.adjust(project, Decimal("-0.84"), reason="The provider refunded an outage.", actor=finance)
    told = "Usage of a key that was used outside of Bursar."
    ledger.adjust(project, Decimal("0.3725"), reason=told, actor=finance, corrects=before)


# --- Jobs of today ----------------------------------------------------------------------------------------------------
def _job(cast: Cast, project: Project, **given: Any) -> Job:
    price = price_on([MODEL], "standard", database_now().date())
    key = cast.keys[project.name][0]
    job = Job.objects.create(
        **{
            "organization": cast.organization,
            "project": project,
            "api_key": key,
            "created_by": key.created_by,
            "queue_id": queue_of(project, family_of(MODEL)),
            "model": MODEL,
            "bound_input_tokens": INPUT,
            "bound_output_tokens": OUTPUT,
            "bound_usd": bound_usd(input_tokens=INPUT, output_tokens=OUTPUT, price=terms_of(price)),
            "admission_tokens": OUTPUT,
            "queued_at": database_now(),
            **given,
        }
    )
    asked = cast.plans[project.name].work.prompts[0]
    request = {"model": MODEL, "messages": [{"role": "user", "content": asked}]}
    JobContent.objects.create(job=job, request=request)
    return job


def _doubts(cast: Cast, finance: User, by: Who) -> None:
    """Calls whose answers were lost: three that are held, and one that was presumed spent."""
    project = next(iter(cast.projects.values()))
    opened = [_doubt(cast, project) for _ in range(4)]
    reason = "The provider's page of the day shows this request as answered."
    decisions.presume_spent(opened[0].pk, reason=reason, actor=finance, by=Who(user=finance, name=by.name))


def _doubt(cast: Cast, project: Project) -> Doubt:
    now = database_now()
    job = _job(cast, project, status=JobStatus.IN_DOUBT, started_at=now, attempt_count=1)
    key = cast.keys[project.name][0]
    attempt = Attempt(job=job, number=1, status=AttemptStatus.IN_DOUBT, created_at=now, lease_expires_at=now)
    claim = ledger.Claim(
        reference=attempt.pk,
        amount_usd=job.bound_usd,
        input_tokens=INPUT,
        output_tokens=OUTPUT,
        owner=Owner(project, project.team_id, key.created_by_id, key.pk, MODEL),
        service_tier="standard",
        price=price_on([MODEL], "standard", now.date()),
    )
    refused = ledger.reserve([claim])
    assert not refused, "the first project's limits leave room for its doubts"
    attempt.calling_at, attempt.worker = now, "calls@demo"
    attempt.error_code, attempt.error_message = "connection_lost", "The connection closed before an answer came."
    attempt.save()
    ledger.mark_in_doubt(attempt.pk, reason="connection_lost")
    return Doubt.objects.create(attempt=attempt, status=DoubtStatus.OPEN, opened_at=now, last_look="not kept")


def _wait(cast: Cast) -> None:
    """Jobs in line: behind a quota that is used up, of a project that is paused, and before another try."""
    for _ in range(12):
        _job(cast, _spent_up(cast))
    for plan in cast.plan.projects:
        if plan.paused:
            for _ in range(5):
                _job(cast, cast.projects[plan.name])
    error = {"status": 503, "code": "overloaded", "message": "The engine is currently overloaded."}
    told = {"reason": "retry", "attempts": 1, "error": error}
    _job(cast, _spent_up(cast), run_after=database_now() + timedelta(days=1), waiting_on=told)


def _tell_overruns(cast: Cast) -> None:
    rows = UsageRecord.objects.filter(organization=cast.organization, is_overrun=True).select_related("reservation")
    for record in rows:
        alerts.raise_overrun(
            organization_id=cast.organization.pk,
            project_id=record.project_id,
            reference=record.reservation.reference,
            model=record.model,
            total_usd=record.total_usd,
            bound_usd=record.reservation.amount_usd,
        )


# --- The provider's bill ----------------------------------------------------------------------------------------------
def _compare(cast: Cast, finance: User, by: Who) -> None:
    """Last week against an invented bill: what the books have, but for a call more, a call less and a dearer one."""
    end = database_now().astimezone(UTC).date() - timedelta(days=2)
    asked = runs.ask(account_of(cast.organization), Origin.COMMAND, end - timedelta(days=BILLED_DAYS), end)
    run = runs.begin(asked.pk)
    assert run is not None
    lines = runs.record(run, _bill(cast, *runs.days_of_bill(run)))
    open_lines = [line for line in lines if line.kind in TO_DECIDE and line.difference_usd]
    who = Who(user=finance, name=by.name)
    for line in open_lines[:1]:
        amount = differences.standings([line])[line.pk].undecided_usd
        differences.accept(line, amount_usd=amount, reason="Below what a letter costs.", actor=finance, by=who)
    for line in open_lines[1:2]:
        amount = differences.standings([line])[line.pk].undecided_usd
        project = line.project or next(iter(cast.projects.values()))
        reason = "The provider's support confirmed it."
        differences.adjust(line, project=project, amount_usd=amount, reason=reason, actor=finance, by=who)


def _bill(cast: Cast, first: date, end: date) -> ProviderBill:
    figures: dict[tuple[date, str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    usd: dict[tuple[date, str, str], Decimal] = defaultdict(Decimal)
    names = {project.pk: project.provider_project_id for project in cast.projects.values()}
    rows = UsageRecord.objects.filter(
        organization=cast.organization,
        dispatched_at__gte=datetime(first.year, first.month, first.day, tzinfo=UTC),
        dispatched_at__lt=datetime(end.year, end.month, end.day, tzinfo=UTC),
    )
    found = list(rows.order_by("dispatched_at", "id"))
    # In the middle, so that they lie in the days that are compared.
    lacking = len(found) // 2
    for place, row in enumerate(found):
        day, project = row.dispatched_at.astimezone(UTC).date(), names[row.project_id]
        times = {lacking: 0, lacking + 1: 2}.get(place, 1)  # the bill lacks one call, and has another twice
        parts = (1, row.input_tokens, row.cached_input_tokens, row.output_tokens)
        of = figures[day, project, row.snapshot, row.service_tier]
        for number, part in enumerate(parts):
            of[number] += times * part
        usd[day, project, row.snapshot] += times * row.total_usd + (CENT if place == lacking + 2 else 0)
    usage = [BilledUsage(*key, Figures(*parts)) for key, parts in figures.items() if parts[0]]
    return ProviderBill(usage, [BilledCost(*key, amount) for key, amount in usd.items() if amount])
