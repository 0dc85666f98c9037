"""What became of each line of a batch at the provider is booked as any other answer, refusal or doubt, each once.

Some lines at a time, behind the lock of the batch's row. A line that ran is settled from its usage at the price of
batches; one that was refused for good has failed; one that was not run waits again. A line of which the provider says
nothing is in doubt, unless the provider says that it ran no more than it answered.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F

from billing.clock import database_now
from billing.prices import terms_of
from billing.pricing import cost
from jobs import catalogue, provider, waking
from jobs.batches.at_provider.moving import move
from jobs.batches.at_provider.returning import Open, give_back
from jobs.batches.lines import RawLine, raw_lines
from jobs.batches.states import ProviderBatchStatus
from jobs.crash_points import reach
from jobs.credentials import access_of
from jobs.echoes import echo_of
from jobs.execution.booking import doubt_of, reject, settle_all
from jobs.execution.claims import Call
from jobs.execution.outcomes import Outcome, believed
from jobs.execution.turns import Turn
from jobs.models import Attempt, Batch, BatchLine, File, JobContent, ProviderBatch
from jobs.provider import Answer, Rejected, Uncertain
from jobs.recovery.doubts import Unknown, put_all_in_doubt
from jobs.retries import Fail, after_rejection, rejection_of
from jobs.states import AttemptStatus

logger = logging.getLogger(__name__)

LINES_AT_ONCE = 100
BYTES_AT_ONCE = 4 * 1024 * 1024
# No answer is longer; one that is has no id that could be read.
LONGEST_LINE = 32 * 1024 * 1024
UNSOLD_AT_ONCE = 500
# The provider ran no more than it answered, where it ended so.
ENDED_EARLY = frozenset({"failed", "expired", "cancelled"})
NEVER_THERE = frozenset({"", "refused"})
FULL = "token_limit_exceeded"
OK = 200

Found = Answer | Rejected | Uncertain | str


@transaction.atomic
def settle(pk: UUID) -> bool:
    """Books some lines; whether there are more to be booked at once."""
    batch_id = ProviderBatch.objects.values_list("batch_id", flat=True).get(pk=pk)
    batch = (
        Batch.objects.select_for_update(skip_locked=True, of=("self",))
        .select_related("project__organization")
        .filter(pk=batch_id)
        .first()
    )
    if batch is None:
        return True  # somebody steps it at this moment
    row = ProviderBatch.objects.select_related("answers", "refusals", "price", "standard_price").get(pk=pk)
    if row.status != ProviderBatchStatus.SETTLING:
        return False
    file, start = _place(row)
    if file is None:
        return _end_the_others(batch, row)
    lines = _some(file, start)
    _book(batch, row, dict(_read(lines)))
    position = min(lines[-1].next_position, file.bytes) - start if lines else file.bytes - start
    ProviderBatch.objects.filter(pk=row.pk).update(read_bytes=F("read_bytes") + position)
    reach("at_provider.settled")
    return True


def _place(row: ProviderBatch) -> tuple[File | None, int]:
    """Where to read on: the answers first, then the refusals; no file at the end of both."""
    start = row.read_bytes
    for file in (row.answers, row.refusals):
        if file is not None:
            if start < file.bytes:
                return file, start
            start -= file.bytes
    return None, 0


def _some(file: File, start: int) -> list[RawLine]:
    lines, size = [], 0
    for line in islice(raw_lines(file, start, longest=LONGEST_LINE), LINES_AT_ONCE):
        lines.append(line)
        size += line.length
        if size >= BYTES_AT_ONCE:
            break
    return lines


def _read(lines: Sequence[RawLine]) -> Iterator[tuple[UUID, Mapping[str, Any]]]:
    """What is said of which attempt; of one that is named twice, the first. What names none is not ours."""
    seen = set()
    for line in lines:
        if line.is_empty:
            continue
        try:
            value = json.loads(line.text or b"")
            attempt_id = UUID(value["custom_id"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            logger.warning("a line of %d bytes among the provider's answers names none of ours", line.length)
            continue
        if attempt_id not in seen:
            seen.add(attempt_id)
            yield attempt_id, value


def _book(batch: Batch, row: ProviderBatch, said: Mapping[UUID, Mapping[str, Any]]) -> None:
    calls = _calls(batch, row, list(said))
    found = {pk: _found(said[pk]) for pk in calls}
    told = believed([Outcome(Turn(calls[pk], 0.0), 0, one) for pk, one in found.items() if isinstance(one, Answer)])
    found |= {outcome.call.attempt_id: outcome.result for outcome in told}  # type: ignore[misc]
    _settle(row, [(calls[pk], one) for pk, one in found.items() if isinstance(one, Answer)])
    unsold: list[tuple[Call, str]] = []
    for pk, one in found.items():
        match one:
            case Uncertain():
                doubt_of(calls[pk], one, come_from=AttemptStatus.BATCHED)
            case Rejected():
                decision = after_rejection(one.rejection, attempts=1, max_attempts=settings.MAX_ATTEMPTS, jitter=0.0)
                if isinstance(decision, Fail):
                    clean = one.without(echo_of(calls[pk].access.api_key, _request_of(calls[pk])))
                    reject(calls[pk], clean.rejection, decision, clean.request_id)
                else:
                    unsold.append((calls[pk], one.rejection.code or str(one.rejection.status)))
            case str():
                unsold.append((calls[pk], one))
    _give_back(batch, row, unsold)
    answered = sum(isinstance(one, Answer | Uncertain) for one in found.values())
    ProviderBatch.objects.filter(pk=row.pk).update(answered=F("answered") + answered)
    transaction.on_commit(waking.wake)


def _calls(batch: Batch, row: ProviderBatch, attempt_ids: Sequence[UUID]) -> dict[UUID, Call]:
    """Those of the attempts that are of this batch and open, as calls that were made."""
    rows = Attempt.objects.filter(pk__in=attempt_ids, fencing_token=row.pk, status=AttemptStatus.BATCHED)
    access, family = access_of(batch.project), catalogue.family_of(batch.model)
    return {
        attempt.pk: Call(
            attempt_id=attempt.pk,
            number=attempt.number,
            token=row.pk,
            job_id=attempt.job_id,
            project=batch.project,
            access=access,
            family=family,
            admission_tokens=attempt.job.admission_tokens,
            may_use_headroom=False,
            body={},  # was sent
        )
        for attempt in rows.select_related("job").order_by("pk")
    }


def _found(said: Mapping[str, Any]) -> Found:
    """What came of a line: its answer, a refusal, a doubt, or the code for which it was not run."""
    response, error = said.get("response"), said.get("error")
    if isinstance(response, dict):
        request_id = response.get("request_id") if isinstance(response.get("request_id"), str) else ""
        status, body = response.get("status_code"), response.get("body")
        if status == OK:
            try:
                return provider.read({"x-request-id": _header(request_id)}, lambda: body)
            except Uncertain as doubt:
                return doubt
        if isinstance(status, int) and isinstance(body, dict) and isinstance(body.get("error"), dict):
            refusal = replace(rejection_of(status, body["error"]), status=status if 0 < status < 1000 else 400)
            return Rejected(refusal, str(request_id))
    elif isinstance(error, dict) and isinstance(error.get("code"), str) and error["code"]:
        return str(error["code"])
    return Uncertain("answer_unreadable", "The provider's batch says nothing of this line that can be read.")


def _header(request_id: Any) -> str:
    return request_id if isinstance(request_id, str) and request_id.isascii() and request_id.isprintable() else ""


def _request_of(call: Call) -> dict[str, Any] | None:
    content = JobContent.objects.filter(pk=call.job_id).only("request").first()
    return content.request if content else None


def _settle(row: ProviderBatch, answers: Sequence[tuple[Call, Answer]]) -> None:
    """Books answers, and what each cost less than it would have otherwise."""
    if not answers:
        return
    records = settle_all(answers)
    standard = terms_of(row.standard_price)
    saved = sum((cost(record.tokens, standard).total_usd - record.total_usd for record in records), Decimal(0))
    ProviderBatch.objects.filter(pk=row.pk).update(saved_usd=F("saved_usd") + saved)
    Batch.objects.filter(pk=row.batch_id).update(
        saved_usd=F("saved_usd") + saved, answered_at_provider=F("answered_at_provider") + len(records)
    )


def _give_back(batch: Batch, row: ProviderBatch, unsold: Sequence[tuple[Call, str]]) -> None:
    lines = dict(BatchLine.objects.filter(job__in=[call.job_id for call, _ in unsold]).values_list("job_id", "pk"))
    for code in sorted({code for _, code in unsold}):
        rows = [Open(lines[call.job_id], call.job_id, call.attempt_id) for call, own in unsold if own == code]
        give_back(batch, rows, code=code, was_sent=True, is_a_try=True)


def _end_the_others(batch: Batch, row: ProviderBatch) -> bool:
    """Ends some lines of which the provider has said nothing; whether there are more. Then nothing of it is open."""
    batched = Attempt.objects.filter(fencing_token=row.pk, status=AttemptStatus.BATCHED).order_by("pk")
    rows = batched.filter(job__batch_line__provider_batch=row).values_list("job__batch_line__pk", "job_id", "pk")
    lines = [Open(*values) for values in rows[:UNSOLD_AT_ONCE]]
    if lines:
        status = row.provider_status
        if status in NEVER_THERE or (status in ENDED_EARLY and row.answered >= row.told_completed):
            code = row.error_code or (f"batch_{status}" if status else "not_sent")
            is_a_try = bool(status) and code != FULL
            give_back(batch, lines, code=code, was_sent=row.sent_at is not None, is_a_try=is_a_try)
            reach("at_provider.returned")
        else:
            reason = "The provider has ended the batch and says nothing of this line."
            code = row.error_code or "line_left_out"
            put_all_in_doubt(
                [Unknown(line.attempt_id, code, reason) for line in lines], come_from=AttemptStatus.BATCHED
            )
        return True
    move(
        row.pk,
        to=ProviderBatchStatus.CLOSED,
        come_from=ProviderBatchStatus.SETTLING,
        closed_at=database_now(),
        look_at=None,
        answers=None,
        refusals=None,
    )
    for file in filter(None, (row.answers, row.refusals)):
        file.delete()
    return False
