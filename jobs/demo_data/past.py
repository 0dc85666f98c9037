"""Writes jobs of the past as the service leaves them: job, attempts, and for the latest what was asked and answered."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Model

from accounts.models.encrypted import encrypted
from billing.prices import terms_of
from billing.pricing import bound_usd
from billing.settlements import Settlement
from jobs.catalogue import family_of
from jobs.demo_data.calls import PastJob
from jobs.demo_data.people import Cast
from jobs.learning.classes import class_of
from jobs.models import Attempt, Job, JobContent, Unlearnt
from jobs.queues import queue_of
from jobs.states import AttemptStatus, JobStatus

CONTENT_OF = timedelta(days=21)
ANSWERED = frozenset({JobStatus.SUCCEEDED, JobStatus.INCOMPLETE})
ANSWER = "This is an invented answer of an invented job."
_REQUEST, _MESSAGE = encrypted(JobContent, "request"), encrypted(JobContent, "message")
# Of so many answers, nobody has fetched one.
UNREAD_IN = 25
_JOB = (
    *("id", "organization_id", "project_id", "api_key_id", "created_by_id", "queue_id", "status", "model"),
    *("service_tier", "priority", "metadata", "bound_input_tokens", "bound_output_tokens", "bound_usd"),
    *("admission_tokens", "attempt_count", "queued_at", "started_at", "finished_at", "snapshot", "usage"),
    *("finish_reason", "is_empty", "input_usd", "cached_input_usd", "output_usd", "reasoning_usd", "total_usd"),
    *("error", "prompt_class", "read_at"),
)
_ATTEMPT = (
    *("id", "job_id", "number", "status", "may_use_headroom", "is_probe", "worker", "is_findable", "created_at"),
    *("lease_expires_at", "calling_at", "finished_at", "http_status", "error_code", "error_message"),
    *("provider_request_id", "provider_response_id"),
)


def write(cast: Cast, jobs: Sequence[PastJob], settled: Mapping[UUID, Settlement], until: datetime) -> None:
    """Belongs into the transaction that wrote their book. `settled`: what each call came to, by its reference."""
    asked = sorted({(job.plan.name, job.model) for job in jobs})
    queues = {(name, model): queue_of(cast.projects[name], family_of(model)) for name, model in asked}
    _copy(Job, _JOB, (_job_row(cast, job, settled, queues[job.plan.name, job.model]) for job in jobs))
    # The beat learns of them, as of others that ended.
    _copy(Unlearnt, ("job_id",), ((job.id,) for job in jobs if job.status in ANSWERED))
    _copy(Attempt, _ATTEMPT, (row for job in jobs for row in _attempt_rows(job)))
    recent = (job for job in jobs if job.queued_at > until - CONTENT_OF)
    _copy(JobContent, ("job_id", "request", "message"), (_content_row(job) for job in recent))


def _job_row(cast: Cast, job: PastJob, settled: Mapping[UUID, Settlement], queue: UUID) -> tuple[Any, ...]:
    last = job.calls[-1] if job.calls else None
    paid = settled.get(last.reference) if last else None
    cap = last.bound_output if last else job.plan.work.cap
    read = last.bound_input if last else job.plan.work.input_tokens
    most = bound_usd(input_tokens=read, output_tokens=cap, price=terms_of(last.price)) if last else 0
    costs: tuple[Any, ...] = (None,) * 5
    usage = None
    if paid:
        parts = paid.cost
        costs = (parts.input_usd, parts.cached_input_usd, parts.output_usd, parts.reasoning_usd, paid.total_usd)
        usage = json.dumps(_usage(paid))
    finish = {JobStatus.SUCCEEDED: "stop", JobStatus.INCOMPLETE: "length"}.get(job.status, "")
    return (
        *(job.id, cast.organization.pk, cast.projects[job.plan.name].pk, job.key.pk, job.key.created_by_id),
        *(queue, job.status.value, job.model, job.service_tier, 0, "{}", read, cap, most, max(read, cap)),
        *(len(job.calls), job.queued_at, last.reserved_at if last else None, job.finished_at),
        *(last.snapshot if last and paid else "", usage, finish, job.status == JobStatus.INCOMPLETE, *costs),
        _error(job),
        class_of([{"role": "user", "content": _asked(job)}], read),
        job.finished_at if paid and job.id.int % UNREAD_IN else None,
    )


def _usage(paid: Settlement) -> dict[str, Any]:
    """In the shape of a chat completion."""
    tokens = paid.tokens
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached_input},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }


def _error(job: PastJob) -> str | None:
    if job.status != JobStatus.FAILED:
        return None
    status, code, message = job.refusals[job.calls[-1].reference]
    return json.dumps({"status": status, "code": code, "type": "server_error", "param": None, "message": message})


def _attempt_rows(job: PastJob) -> Iterable[tuple[Any, ...]]:
    for number, call in enumerate(job.calls, 1):
        status, code, message = job.refusals.get(call.reference, (200, "", ""))
        state = AttemptStatus.ANSWERED if call.tokens else AttemptStatus.REJECTED
        yield (
            *(call.reference, job.id, number, state.value, False, False, "calls@demo", True, call.reserved_at),
            *(call.reserved_at + timedelta(seconds=15), call.reserved_at, call.resolved_at, status, code, message),
            *(f"req_{call.reference.hex[-24:]}", ""),
        )


def _content_row(job: PastJob) -> tuple[Any, ...]:
    request = {"model": job.model, "messages": [{"role": "user", "content": _asked(job)}]}
    has_answer = job.status in {JobStatus.SUCCEEDED, JobStatus.INCOMPLETE}
    text = "" if job.status == JobStatus.INCOMPLETE else ANSWER
    message = {"role": "assistant", "content": text} if has_answer else None
    return job.id, _REQUEST.sealed(request), _MESSAGE.sealed(message)


def _asked(job: PastJob) -> str:
    prompts = job.plan.work.prompts
    return prompts[job.id.int % len(prompts)]


def _copy(model: type[Model], columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    table = model._meta.db_table
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
