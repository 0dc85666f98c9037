"""How a request at the front door ends when it does not end with an answer, in the provider's words and envelope."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Any
from uuid import UUID

from django.http import HttpResponse

from billing.amounts import at_most
from billing.budgets import owner_of, states_of
from billing.clock import database_now
from billing.grants import Likely, first_short, ways_to_hold
from billing.limits import BudgetState
from billing.models import Scope
from billing.money import amount_of
from billing.prices import price_on, terms_of
from jobs import catalogue
from jobs.catalogue import CatalogueEntry
from jobs.learning.likely import likely_cost
from jobs.models import BreakerReason, Job
from jobs.states import JobStatus

SERVER_ERROR, INVALID, QUOTA = "server_error", "invalid_request_error", "insufficient_quota"
# The provider's codes since 2026, by the scope of the limit; older clients look at the type, which stays the same.
SPENT_CODES: Mapping[str, str] = {
    Scope.ORGANIZATION: "organization_spend_limit_exceeded",
    Scope.PROJECT: "project_spend_limit_exceeded",
}
NO_RETRY = {"x-should-retry": "false"}
# What a queued job may wait on that will not pass while a client waits.
MAY_STAND_STILL = frozenset({"budget", "project_paused", BreakerReason.ACCESS.value, BreakerReason.QUOTA.value})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer: HTTP status, the members of `error`, headers."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The provider's envelope."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}

    def response(self) -> HttpResponse:
        text = json.dumps(self.body(), indent=2)
        return HttpResponse(text, status=self.status, content_type="application/json", headers=dict(self.headers))


def refusal_of(job: Job) -> Refusal | None:
    """Why a job that has ended has no answer; None where it has one, whole or cut off."""
    match JobStatus(job.status):
        case JobStatus.FAILED:
            return _failed(job)
        case JobStatus.CANCELLED:
            message = f"Job {job.pk} was cancelled before it was answered."
            return Refusal(409, message, INVALID, "job_cancelled", headers=NO_RETRY)
    return None


def _failed(job: Job) -> Refusal:
    """In the provider's own words, where it was the provider that refused."""
    error = job.error or {}
    status = error.get("status")
    kind, code = error.get("type"), error.get("code")
    message = error.get("message") or f"Job {job.pk} failed, and nothing says why."
    if not isinstance(status, int) or not 400 <= status <= 599:
        # It never got so far, or its outcome is not known and was settled without an answer: another try is another
        # call, and that is for people to decide.
        return Refusal(500, message, kind or SERVER_ERROR, code or "job_failed", error.get("param"), NO_RETRY)
    # Calls that may succeed later were tried again inside, as often as is sensible.
    fallback = SERVER_ERROR if status >= 500 else INVALID
    return Refusal(status, message, kind or fallback, code, error.get("param"), NO_RETRY)


def unfinished(job: Job) -> Refusal:
    """The job goes on, and nobody waits for it any longer. The same request, sent again, waits for the same job."""
    message = (
        f"Job {job.pk} is {job.status} and has not been answered in time. It goes on: send the same request with the "
        f"same Idempotency-Key again, or look at /api/v1/jobs/{job.pk}."
    )
    return Refusal(504, message, SERVER_ERROR, "job_unfinished", headers={"Retry-After": "1"})


def restarted(job_id: UUID) -> Refusal:
    """The answer that the client has the beginning of is none: the job is answered anew."""
    message = (
        f"The answer broke off, and what was sent of it is void: job {job_id} is answered anew. Send the same request "
        f"with the same Idempotency-Key again, or look at /api/v1/jobs/{job_id}."
    )
    return Refusal(500, message, SERVER_ERROR, "answer_restarted")


def may_stand_still(told: Mapping[str, Any] | None) -> bool:
    """Whether what a queued job waits on is of the kind that may not pass."""
    return told is not None and told["reason"] in MAY_STAND_STILL


def standstill(job: Job, told: Mapping[str, Any] | None) -> Refusal | None:
    """Why a queued job will not start while anybody waits for it; None where it may.

    `told`: what it waits on. A budget that is merely held by calls under way is none; it is looked up anew.
    """
    if told is None or not may_stand_still(told):
        return None
    reason = told["reason"]
    if reason == "project_paused":
        message = f"The project is paused: {told.get('message') or 'nobody said why'}."
        return Refusal(429, message, QUOTA, "project_paused", headers=NO_RETRY)
    if reason == BreakerReason.QUOTA:
        message = "The account at the provider is used up, so that no call is made: an administrator has to add to it."
        return Refusal(429, message, QUOTA, QUOTA, headers=NO_RETRY)
    if reason == BreakerReason.ACCESS:
        message = "The provider refuses the credential of this organization, so that no call is made."
        return Refusal(503, message, SERVER_ERROR, BreakerReason.ACCESS.value, headers=NO_RETRY)
    return _spent(job)


def _spent(job: Job) -> Refusal | None:
    """The budget that is used up: with what is spent of it, and not only held, the job does not fit any more."""
    if job.api_key is None:
        return None
    now = database_now()
    entry = catalogue.find(job.model)
    required = at_most(job.bound_usd, input_tokens=job.bound_input_tokens, output_tokens=job.bound_output_tokens)
    states = states_of(owner_of(job.api_key, entry.model.name if entry else job.model), now)
    ways = ways_to_hold(required, _likely(job, entry, now), [state.limit for state in states])
    short = first_short(ways, [(state.limit, state.limit.amount - state.spent) for state in states])
    state = next((state for state in states if state.limit is short), None)
    return _used_up(state, required.of(state.limit.measure), now) if state else None


def _likely(job: Job, entry: CatalogueEntry | None, now: datetime) -> Likely | None:
    organization = job.project.organization
    if entry is None:
        return None
    names = catalogue.provider_price_names(entry)
    return likely_cost(
        organization.pk, job, lambda: terms_of(price_on(names, job.service_tier, organization.terms_date(now)))
    )


def _used_up(state: BudgetState, needed: Any, now: datetime) -> Refusal:
    limit = state.limit
    resets_at = limit.window.end
    message = (
        f"You exceeded your current quota: {limit.scope.value} '{limit.name}' has spent "
        f"{amount_of(limit.measure, state.spent)} of {amount_of(limit.measure, limit.amount)}, and this call can come "
        f"to {amount_of(limit.measure, needed)}. The limit resets at {resets_at:%Y-%m-%dT%H:%M:%SZ}."
    )
    seconds = ceil((resets_at - now).total_seconds())
    headers = {**NO_RETRY, "Retry-After": str(max(seconds, 1))}
    return Refusal(429, message, QUOTA, SPENT_CODES.get(limit.scope, QUOTA), headers=headers)
