"""T2: which queued jobs start now. Their worst case is held on every budget first; then a worker is told.

Any number of dispatchers may run: they take turns at a batch, and skip what a canceller has locked. Nothing is lost
with a message: an attempt that no worker picks up is given back by `jobs.recovery`.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import redis
from celery import current_app
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from kombu.exceptions import OperationalError as BrokerError
from uuid_utils.compat import uuid7

from accounts.errors import DomainError
from accounts.models import RateLimit
from accounts.tiers import Standing, rate_limit, standing
from billing import ledger
from billing.clock import database_now
from billing.ledger import Claim, Refusal
from billing.limits import Owner
from billing.models import Price
from billing.money import usd
from billing.prices import price_on, terms_of
from billing.pricing import bound_usd
from jobs import catalogue, limiter
from jobs.credentials import access_of
from jobs.errors import MaxCostTooSmall
from jobs.models import Attempt, Job
from jobs.states import ATTEMPT_IN_FLIGHT, AttemptStatus, JobStatus
from jobs.transitions import move_job

logger = logging.getLogger(__name__)

# Jobs claimed in one transaction: few enough that the budget rows are locked for milliseconds only.
BATCH = 50
# A job that does not fit its budget is looked at again after this.
BUDGET_RETRY_SECONDS = 2.0
# Key of the advisory lock; any number that nothing else in this database locks.
ONE_DISPATCHER = 0x42_55_52_53_41_52
WAKE_KEY = "bursar:dispatch:woken"
WAKE_TASK = "jobs.tasks.dispatch"
CALL_TASK = "jobs.tasks.call_model"


def wake() -> None:
    """Asks for a dispatch soon; many calls at once make one message.

    With Redis away the beat does it a second later.
    """
    try:
        if limiter.connection().set(WAKE_KEY, 1, nx=True, px=1000):
            current_app.send_task(WAKE_TASK)
    except (redis.RedisError, BrokerError, OSError) as error:
        logger.warning("dispatch not woken, the beat will: %s", error)


def dispatch() -> int:
    """Starts every queued job that slots, rate limits and budgets admit now; returns how many attempts were made."""
    _forget_wake()
    started = 0
    while attempts := _start_some():
        started += len(attempts)
    return started


@transaction.atomic
def _start_some() -> list[Attempt]:
    """The attempts of one batch. One dispatcher at a time, so that together they start no more than there are slots."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ONE_DISPATCHER])
    free = settings.CALL_SLOTS - Attempt.objects.filter(status__in=ATTEMPT_IN_FLIGHT).count()
    if free <= 0:
        return []
    attempts = _claim(_fair_choice(min(free, BATCH)))
    ids = [attempt.pk for attempt in attempts]
    transaction.on_commit(lambda: send(ids))
    return attempts


def send(attempt_ids: Iterable[UUID]) -> None:
    """Tells the workers. A message that does not get through costs time, not the attempt."""
    try:
        for attempt_id in attempt_ids:
            current_app.send_task(CALL_TASK, args=[str(attempt_id)])
    except (BrokerError, OSError) as error:
        logger.warning("calls not sent, their leases will run out: %s", error)


def _forget_wake() -> None:
    # Before the queue is read: whoever submits after this line wakes us again.
    try:
        limiter.connection().delete(WAKE_KEY)
    except redis.RedisError:
        logger.info("the wake key stays until it expires: Redis does not answer")


def _fair_choice(count: int) -> list[UUID]:
    """Up to `count` queued jobs, taking turns: one of each organization, and within it one of each project, at a time.

    Reads the head of each project's queue by its partial index, so the cost follows the number of projects and not the
    backlog.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH heads AS (
                SELECT project.organization_id, project.id AS project_id, head.id, head.place
                FROM accounts_project project
                CROSS JOIN LATERAL (
                    SELECT job.id, row_number() OVER (ORDER BY job.priority DESC, job.id) AS place
                    FROM jobs_job job
                    WHERE job.project_id = project.id AND job.status = 'queued'
                      AND (job.run_after IS NULL OR job.run_after <= now())
                    ORDER BY job.priority DESC, job.id
                    LIMIT %(count)s
                ) head
                WHERE project.paused_at IS NULL
            ), turns AS (
                SELECT id, row_number() OVER (PARTITION BY organization_id ORDER BY place, id) AS turn FROM heads
            )
            SELECT id FROM turns ORDER BY turn, id LIMIT %(count)s
            """,
            {"count": count},
        )
        return [job_id for (job_id,) in cursor.fetchall()]


@dataclass(slots=True)
class _Family:
    """What the calls of one account and model family have already asked of their rate limits in this round."""

    limits: RateLimit | None
    requests: int
    tokens: int


@dataclass(slots=True)
class _Round:
    """What is looked up once for all jobs of a batch."""

    now: datetime
    standings: dict[UUID, Standing] = field(default_factory=dict)
    families: dict[tuple[str, str], _Family] = field(default_factory=dict)
    entries: dict[str, catalogue.CatalogueEntry | None] = field(default_factory=dict)

    def entry(self, model: str) -> catalogue.CatalogueEntry | None:
        if model not in self.entries:
            self.entries[model] = catalogue.find(model)
        return self.entries[model]


def _claim(job_ids: Sequence[UUID]) -> list[Attempt]:
    """The attempts made for those of the jobs that may start; every other one learns what it waits for."""
    rows = (
        Job.objects.select_for_update(skip_locked=True, of=("self",))
        .select_related("project__organization")
        .filter(pk__in=job_ids, status=JobStatus.QUEUED)
    )
    jobs = {job.pk: job for job in rows}
    round_ = _Round(database_now())
    ready = []
    for job in (jobs[pk] for pk in job_ids if pk in jobs):
        try:
            claim = _prepare(job, round_)
        except DomainError as error:
            _fail(job, error, round_.now)
        else:
            if claim is not None:
                ready.append((job, claim))
    refusals = {refusal.claim.reference: refusal for refusal in ledger.reserve([claim for _, claim in ready])}
    attempts = []
    for job, claim in ready:
        if claim.reference in refusals:
            _wait_for_budget(job, refusals[claim.reference], round_.now)
        else:
            attempts.append(_make_attempt(job, claim, round_.now))
    Attempt.objects.bulk_create(attempts)
    return attempts


def _prepare(job: Job, round_: _Round) -> Claim | None:
    """The claim of a job that may start; None when its rate limits have no room yet.

    Raises a DomainError when it can never start: its deadline has passed, or its model, its price or its own maximum
    forbids it by now.
    """
    if job.deadline is not None and job.deadline <= round_.now:
        raise DomainError("The deadline passed while the job was waiting to start.", code="deadline_exceeded")
    entry = round_.entry(job.model)
    if entry is None:
        raise DomainError(f"The model '{job.model}' has left the catalogue.", code="model_not_found")
    day = job.project.organization.terms_date(round_.now)
    price = price_on(catalogue.provider_price_names(entry), job.service_tier, day)
    amount_usd = _bound_now(job, price)
    if job.max_cost_usd is not None and amount_usd > job.max_cost_usd:
        raise MaxCostTooSmall(
            f"At the price now in force the call can cost {usd(amount_usd)} USD, more than its max_cost_usd of "
            f"{usd(job.max_cost_usd)}."
        )
    if not _has_room(job, entry.model.family, round_):
        return None
    return Claim(
        reference=uuid7(),
        amount_usd=amount_usd,
        input_tokens=job.bound_input_tokens,
        output_tokens=job.bound_output_tokens,
        owner=Owner(job.project, job.project.team_id, job.created_by_id, job.api_key_id, entry.model.name),
        service_tier=job.service_tier,
        price=price,
    )


def _bound_now(job: Job, price: Price) -> Decimal:
    return bound_usd(input_tokens=job.bound_input_tokens, output_tokens=job.bound_output_tokens, price=terms_of(price))


def _has_room(job: Job, family_name: str, round_: _Round) -> bool:
    """Whether the rate limits would let one more call of the family start soon.

    If not, the job learns that it waits for them.
    """
    account = limiter.account_of(access_of(job.project))
    family = round_.families.get((account, family_name))
    if family is None:
        family = round_.families[account, family_name] = _family(job, family_name, round_)
    if family.limits is None:
        _wait(job, {"reason": "rate_limit", "limit": "unknown", "model": family_name}, round_.now, seconds=5)
        return False
    try:
        admission = limiter.look(
            account,
            family_name,
            family.limits,
            requests=family.requests + 1,
            tokens=family.tokens + job.admission_tokens,
            horizon_seconds=settings.ADMISSION_HORIZON_SECONDS,
        )
    except limiter.LimiterAway:
        _wait(job, {"reason": "limiter_unavailable"}, round_.now, seconds=1)
        return False
    if not isinstance(admission, limiter.Go):
        limit = admission.limit
        wait_seconds = admission.wait_seconds if isinstance(admission, limiter.NotYet) else 1.0
        told = {
            "reason": "rate_limit",
            "limit": limit,
            "model": family_name,
            "limit_value": getattr(family.limits, limit),
        }
        # Its turn cannot come before then, and the ones after it would ask in vain as well.
        _wait(job, told, round_.now, seconds=max(0.2, min(wait_seconds - settings.ADMISSION_HORIZON_SECONDS, 5.0)))
        return False
    family.requests += 1
    family.tokens += job.admission_tokens
    return True


def _family(job: Job, name: str, round_: _Round) -> _Family:
    """The limits of a family at the organization's tier, and what unclaimed attempts will still ask of them."""
    organization = job.project.organization
    if organization.pk not in round_.standings:
        round_.standings[organization.pk] = standing(organization, round_.now)
    tier = round_.standings[organization.pk].tier.number
    unclaimed = Attempt.objects.filter(
        status=AttemptStatus.CREATED, fencing_token__isnull=True, job__project__organization=organization
    ).select_related("job")
    pending = [
        a.job.admission_tokens for a in unclaimed if (entry := round_.entry(a.job.model)) and entry.model.family == name
    ]
    return _Family(rate_limit(tier, name, organization.terms_date(round_.now)), len(pending), sum(pending))


def _make_attempt(job: Job, claim: Claim, now: datetime) -> Attempt:
    moved = move_job(
        job.pk,
        to=JobStatus.RUNNING,
        come_from=[JobStatus.QUEUED],
        waiting_on=None,
        run_after=None,
        attempt_count=F("attempt_count") + 1,
    )
    assert moved, "the row is locked by this transaction"
    return Attempt(
        id=claim.reference,
        job=job,
        number=job.attempt_count + 1,
        created_at=now,
        lease_expires_at=now + timedelta(seconds=settings.CLAIM_LEASE_SECONDS),
    )


def _wait_for_budget(job: Job, refusal: Refusal, now: datetime) -> None:
    _wait(job, {"reason": "budget", **refusal.describe()}, now, seconds=BUDGET_RETRY_SECONDS)


def _wait(job: Job, waiting_on: dict[str, Any], now: datetime, *, seconds: float) -> None:
    Job.objects.filter(pk=job.pk).update(waiting_on=waiting_on, run_after=now + timedelta(seconds=seconds))


def _fail(job: Job, reason: DomainError, now: datetime) -> None:
    """Ends a job that can never start."""
    error = {"code": reason.code, "message": reason.message, "type": "not_started", "status": None, "param": None}
    move_job(job.pk, to=JobStatus.FAILED, come_from=[JobStatus.QUEUED], finished_at=now, error=error, waiting_on=None)
