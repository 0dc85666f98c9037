"""Lines are held for a batch at the provider: each is a job with an attempt and a hold before anything is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F
from uuid_utils.compat import uuid7

from accounts import api_keys
from accounts.errors import DomainError
from accounts.models import ApiKey
from billing import ledger
from billing.budgets import owner_of
from billing.clock import nearly_now
from billing.ledger import Claim
from billing.models import ServiceTier
from billing.prices import terms_of
from billing.pricing import bound_usd
from jobs import catalogue, submission
from jobs.batches import feeding, files
from jobs.batches.at_provider.choice import MOST_RETURNS, Prices
from jobs.batches.at_provider.moving import move
from jobs.batches.ceiling import room_of
from jobs.batches.lines import Request, read_request
from jobs.batches.noting import Noted, end_waiting, note
from jobs.batches.refusals import COST_LIMIT, KEY_OVER, refused
from jobs.batches.states import LineStatus, ProviderBatchStatus
from jobs.ceilings import Room
from jobs.errors import BacklogFull, MaxCostTooSmall
from jobs.estimates import Bound
from jobs.insertion import insert
from jobs.models import Attempt, Batch, BatchLine, Job, JobContent, ProviderBatch
from jobs.states import AttemptStatus, JobStatus
from jobs.submission import Submission
from jobs.transitions import move_jobs

LINES_AT_ONCE = 100
# What one batch there is at most: its file is built in memory.
MOST_BYTES = 16 * 1024 * 1024
# Of one batch here, under way there together.
MOST_AT_ONCE = 4
# When the next are tried after nothing fitted into the limits.
SHORT_PAUSE = timedelta(seconds=30)
# One that nobody fills any more is sent after so long.
FILLED_WITHIN = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A line whose request may run, and the most that it can cost there."""

    line: BatchLine
    submission: Submission
    bound: Bound
    claim: Claim


def hold(batch: Batch, prices: Prices, now: datetime) -> bool:
    """Holds some lines for the provider; whether more may be held at once. Runs in the caller's transaction, which has
    the batch locked.
    """
    if batch.project.paused_at is not None:
        return False
    key = batch.api_key and api_keys.find_again(batch.api_key.secret_hash, nearly_now())
    if key is None:
        return bool(end_waiting(batch, LineStatus.FAILED, KEY_OVER))
    filling = ProviderBatch.objects.filter(batch=batch, status=ProviderBatchStatus.FILLING).first()
    if filling is None and not _may_begin(batch, now):
        return False
    lines = _next(batch, filling)
    if not lines:
        if filling is not None:
            seal(filling, now)
        return False
    return _hold(batch, key, filling, lines, prices, now)


def seal(filling: ProviderBatch, now: datetime) -> None:
    """Nothing is added to it any more, and it is to be sent: from now on its lines may be at the provider."""
    jobs = filling.lines.filter(status=LineStatus.FED).values("job")
    Attempt.objects.filter(job__in=jobs, fencing_token=filling.pk, status=AttemptStatus.BATCHED).update(calling_at=now)
    Job.objects.filter(pk__in=jobs).update(started_at=now)
    moved = move(
        filling.pk, to=ProviderBatchStatus.SENDING, come_from=ProviderBatchStatus.FILLING, sent_at=now, look_at=now
    )
    assert moved, "the batch is locked"


def _may_begin(batch: Batch, now: datetime) -> bool:
    if batch.at_provider_after is not None and batch.at_provider_after > now:
        return False
    open_ones = batch.provider_batches.exclude(status=ProviderBatchStatus.CLOSED)
    return open_ones.count() < MOST_AT_ONCE


def _next(batch: Batch, filling: ProviderBatch | None) -> list[BatchLine]:
    """The lines that may be held now, in their order; none where what is being filled is full."""
    lines, size = (filling.size, filling.size_bytes) if filling else (0, 0)
    room = min(LINES_AT_ONCE, batch.at_provider_lines - lines)
    waiting = list(batch.lines.filter(status=LineStatus.WAITING).order_by("number")[: max(0, room)])
    near: list[BatchLine] = []
    for line in waiting:
        size += line.length
        is_near = line.position + line.length - waiting[0].position <= feeding.BYTES_AT_ONCE
        if size > MOST_BYTES or not (is_near or not near):
            break
        near.append(line)
    if waiting and not near and filling is None:
        return waiting[:1]  # larger than any batch there may be: it goes alone
    return near


def _hold(
    batch: Batch,
    key: ApiKey,
    filling: ProviderBatch | None,
    lines: Sequence[BatchLine],
    prices: Prices,
    now: datetime,
) -> bool:
    wanted, ended = _read(batch, key, lines, prices, now)
    short = {refusal.claim.reference for refusal in ledger.reserve([each.claim for each in wanted])}
    granted = [each for each in wanted if each.claim.reference not in short]
    note(batch, ended, come_from=LineStatus.WAITING)
    if granted:
        filling = filling or _begin(batch, prices, now)
        _start(batch, key, filling, granted, now)
    if short and filling is None:
        Batch.objects.filter(pk=batch.pk).update(at_provider_after=now + SHORT_PAUSE)
    elif short and filling is not None:
        # What did not fit waits for what is held now; that is not kept waiting for it.
        seal(filling, now)
    return not short


def _begin(batch: Batch, prices: Prices, now: datetime) -> ProviderBatch:
    return ProviderBatch.objects.create(
        batch=batch,
        price=prices.batch,
        standard_price=prices.standard,
        created_at=now,
        look_at=now + FILLED_WITHIN,
    )


def _read(
    batch: Batch, key: ApiKey, lines: Sequence[BatchLine], prices: Prices, now: datetime
) -> tuple[list[Wanted], list[Noted]]:
    """The lines that are to be held, and what became of the others: refused, or submitted as ordinary jobs."""
    first, last = lines[0], lines[-1]
    text = files.read(batch.input_file, first.position, last.position + last.length - first.position)
    wanted, ended, room = [], [], room_of(batch)
    for line in lines:
        begin = line.position - first.position
        own = text[begin : begin + line.length]
        try:
            request = read_request(own)
            if request.service_tier != ServiceTier.STANDARD or line.returned >= MOST_RETURNS:
                # Its owner asks for another tier, or the provider leaves it without an answer.
                ended.append(feeding.submit_line(batch, key, line, own, room))
            else:
                wanted.append(_wanted(batch, key, line, request, prices, room, now))
                room.take(wanted[-1].claim.amount_usd)
        except BacklogFull:
            continue  # it waits
        except MaxCostTooSmall:
            # Of the batch as a whole: it waits where what is under way may cost less than it might.
            if not room.may_grow:
                ended.append(Noted(line.pk, LineStatus.FAILED, error=COST_LIMIT))
        except DomainError as error:
            ended.append(Noted(line.pk, LineStatus.FAILED, error=refused(error)))
    return wanted, ended


def _wanted(
    batch: Batch, key: ApiKey, line: BatchLine, request: Request, prices: Prices, room: Room, now: datetime
) -> Wanted:
    asked = request.in_batch().submission(
        batch_id=batch.public_id, priority=batch.priority, deadline=batch.expires_at, max_cost_usd=room.usd
    )
    bound = submission.check(key, asked, now)
    entry = catalogue.find(asked.prompt.model)
    assert entry is not None, "it was checked"
    price = terms_of(prices.batch)
    claim = Claim(
        reference=uuid7(),
        # By the price that it is settled at; what was checked may be a second old.
        amount_usd=bound_usd(input_tokens=bound.input_tokens, output_tokens=bound.output_tokens, price=price),
        input_tokens=bound.input_tokens,
        output_tokens=bound.output_tokens,
        owner=owner_of(key, entry.model.name),
        service_tier=ServiceTier.BATCH,
        price=prices.batch,
        likely=submission.likely_to_cost(key.project, asked, bound, price),
    )
    return Wanted(line, asked, bound, claim)


def _start(batch: Batch, key: ApiKey, filling: ProviderBatch, granted: Sequence[Wanted], now: datetime) -> None:
    """Writes jobs and attempts of lines that are held."""
    jobs: dict[UUID, Job] = {}
    for each in granted:
        job = jobs[each.claim.reference] = submission.job_of(key, each.submission, each.bound, now)
        insert(job, JobContent(job=job, request=submission.body_for_provider(each.submission)))
    move_jobs([job.pk for job in jobs.values()], to=JobStatus.RUNNING, come_from=JobStatus.QUEUED, attempt_count=1)
    Attempt.objects.bulk_create(
        Attempt(
            id=reference,
            job=job,
            number=1,
            status=AttemptStatus.BATCHED,
            fencing_token=filling.pk,
            created_at=now,
            lease_expires_at=batch.expires_at,
        )
        for reference, job in jobs.items()
    )
    found = [Noted(each.line.pk, LineStatus.FED, jobs[each.claim.reference].pk) for each in granted]
    note(batch, found, come_from=LineStatus.WAITING)
    BatchLine.objects.filter(pk__in=[each.line.pk for each in granted]).update(provider_batch=filling)
    size = sum(each.line.length for each in granted)
    ProviderBatch.objects.filter(pk=filling.pk).update(size=F("size") + len(granted), size_bytes=F("size_bytes") + size)
