"""The turns of claimed calls under the provider's rate limits: taken, given back, and taken anew when missed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any
from uuid import UUID

from django.conf import settings

from accounts.models import Organization, ProjectRateLimit, RateLimit
from accounts.remembered import remembered
from accounts.tiers import project_rate_limits, rate_limit, standing
from billing.clock import database_now
from jobs import limiter
from jobs.execution.claims import Call
from jobs.execution.patience import patiently
from jobs.recovery import give_back

logger = logging.getLogger(__name__)

# A job that lost its turn looks for another one no later than this.
LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A call with the instant (monotonic) at which it may start."""

    call: Call
    starts_at: float
    taken: limiter.Turn | None = field(default=None, repr=False)

    def is_past(self, now: float) -> bool:
        """Whether the call would reach the provider later than its turn allows for."""
        return now > self.starts_at + limiter.LATENESS_MS / 1000


@dataclass(frozen=True, slots=True)
class _Waits:
    """What a call without a turn waits on, and for how many seconds before its job is looked at again."""

    waiting_on: dict[str, Any]
    pause_seconds: float


def take_turns(calls: Sequence[Call]) -> list[Turn]:
    """The turns of those calls that may start soon. The jobs of the others are queued again, their holds released."""
    turns = []
    for call, taken in zip(calls, _take(calls), strict=True):
        if isinstance(taken, Turn):
            turns.append(taken)
        else:
            give_back(call, waiting_on=taken.waiting_on, after_seconds=taken.pause_seconds)
    return turns


def take_again(missed: Sequence[Turn]) -> list[Turn]:
    """Turns for calls that missed theirs; where there is none soon, the missed one, and its call is to ask again.

    Their attempts have begun, so that they cannot go back to the queue.
    """
    return_turns(missed)
    # They count as under way, and nobody would care for those that were let fall here until long after their deadline.
    again = patiently(lambda: _take([turn.call for turn in missed]))
    return [
        taken if isinstance(taken, Turn) else replace(turn, taken=None)
        for turn, taken in zip(missed, again, strict=True)
    ]


def return_turns(turns: Sequence[Turn]) -> list[None]:
    """Lets others use turns whose calls were not sent. With Redis away they are lost, and the limit less used."""
    try:
        limiter.give_back_all([turn.taken for turn in turns if turn.taken])
    except limiter.LimiterAway as away:
        logger.warning("turns were not given back: %s", away)
    return [None for _ in turns]


def hand_back(calls: Sequence[Call]) -> list[None]:
    """Queues the jobs of calls again that will not begin here; their holds are released."""
    for call in calls:
        give_back(call, waiting_on=None, after_seconds=0.0, reason="its worker was told to stop")
    return [None for _ in calls]


def _take(calls: Sequence[Call]) -> list[Turn | _Waits]:
    """For each call its turn, or what it waits on."""
    askings = [_asking(call) for call in calls]
    try:
        admissions = iter(limiter.admit_all([asking for asking in askings if asking]))
    except limiter.LimiterAway as error:
        logger.warning("%d attempts go back to the queue, the limiter is away: %s", len(calls), error)
        return [_Waits({"reason": "limiter_unavailable"}, 1.0) for _ in calls]
    return [
        _turn(call, next(admissions))
        if asking
        else _Waits({"reason": "rate_limit", "limit": "unknown"}, LONGEST_PAUSE_SECONDS)
        for call, asking in zip(calls, askings, strict=True)
    ]


def _turn(call: Call, admission: limiter.Admission) -> Turn | _Waits:
    if isinstance(admission, limiter.Go):
        received_at = admission.turn.received_at if admission.turn else monotonic()
        return Turn(call, received_at + admission.wait_seconds, admission.turn)
    wait = admission.wait_seconds if isinstance(admission, limiter.NotYet) else LONGEST_PAUSE_SECONDS
    owner, _, limit = admission.limit.rpartition(":")
    waiting_on = {"reason": "rate_limit", "limit": limit, "model": call.family}
    if owner:
        waiting_on["scope"] = "project"
    return _Waits(waiting_on, min(wait, LONGEST_PAUSE_SECONDS))


def _asking(call: Call) -> limiter.Asking | None:
    """What a call asks of the limiter; None where no rate limit of its model is known any more."""
    limits = _limits(call.project.organization, call.family)
    if limits is None:
        return None
    return limiter.asking_for(
        limiter.account_of(call.access),
        call.family,
        limits,
        _override(call.project.pk, call.family),
        project_id=call.project.pk,
        tokens=call.admission_tokens,
        use_headroom=call.may_use_headroom,
        horizon_seconds=settings.ADMISSION_HORIZON_SECONDS,
    )


@remembered()
def _limits(organization: Organization, family: str) -> RateLimit | None:
    now = database_now()
    return rate_limit(standing(organization, now).tier.number, family, organization.terms_date(now))


@remembered()
def _override(project_id: UUID, family: str) -> ProjectRateLimit | None:
    return project_rate_limits([project_id]).get((project_id, family))
