"""Breakers: an organization's calls of a model family stop while the provider fails them, or refuses its account.

Each worker process judges by the calls that it carried out itself, from memory; what it finds is written into
PostgreSQL, where the dispatcher of all reads it (`jobs.dispatch.gate`). While a breaker is open its jobs wait, and one
call at a time tries (docs/decisions/0020).
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connection, transaction
from django.db.models import F, QuerySet

from billing import alerts
from billing.arrays import array, columns
from jobs.evidence import Evidence
from jobs.execution.claims import Call
from jobs.models import Breaker, BreakerReason
from jobs.models.attempts import Attempt
from jobs.provider import Answer, Rejected, Uncertain, Unreachable
from jobs.responses import Accepted
from jobs.retries import SLOW_DOWN, Rejection, Stop, stop_of

logger = logging.getLogger(__name__)

# The first call that tries again comes after so long, and each one after it twice as long after the one before.
FIRST_PROBE_SECONDS = 2.0
LONGEST_PROBE_SECONDS = 60.0
MOST_FAMILIES = 10_000
LONGEST_MESSAGE = 300

Result = Answer | Accepted | Rejected | Unreachable | Uncertain

_OPEN = """
    INSERT INTO jobs_breaker (organization_id, project_id, family, reason, error, opened_at, next_probe_at, probes)
    SELECT organization, project, family, reason, error::jsonb, now(), now() + make_interval(secs => %s), 0
    FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[])
        AS new (organization, project, family, reason, error)
    ON CONFLICT (organization_id, project_id, family) DO NOTHING
    RETURNING id, organization_id, project_id, family
"""
_CLOSE = """
    DELETE FROM jobs_breaker WHERE probe_id = ANY(%s::uuid[]) RETURNING organization_id, project_id, family, reason
"""
_PRESENT = """
    SELECT breaker.id, breaker.organization_id, breaker.project_id, breaker.family, breaker.reason, breaker.error,
        breaker.opened_at, breaker.next_probe_at, breaker.probes,
        breaker.next_probe_at <= %s AND attempt.id IS NULL
    FROM jobs_breaker breaker
    LEFT JOIN jobs_attempt attempt ON attempt.id = breaker.probe_id AND attempt.status IN ('created', 'calling')
"""
_PROBED = """
    UPDATE jobs_breaker AS breaker SET probe_id = new.attempt, probes = probes + 1,
        next_probe_at = %s + make_interval(secs => least(%s, %s * power(2, least(probes, 10))))
    FROM unnest(%s::bigint[], %s::uuid[]) AS new (id, attempt) WHERE breaker.id = new.id
"""

# The organization, the project where it is about one alone, and the family where it is about one alone.
Key = tuple[UUID, UUID | None, str]


@dataclass(frozen=True, slots=True)
class Open:
    """A breaker that is open, as the dispatcher sees it. `may_probe`: one call may try now."""

    id: int
    key: Key
    reason: str
    error: Mapping[str, Any]
    opened_at: datetime
    next_probe_at: datetime
    probes: int
    may_probe: bool

    def binds(self, organization_id: UUID, project_id: UUID, family: str) -> bool:
        """Whether the calls of this queue wait for it."""
        owner, project, of_family = self.key
        return owner == organization_id and project in (None, project_id) and of_family in ("", family)

    def told(self) -> dict[str, Any]:
        """What the jobs that it binds wait for."""
        return {
            "reason": self.reason,
            "since": f"{self.opened_at:%Y-%m-%dT%H:%M:%SZ}",
            "next_probe": f"{self.next_probe_at:%Y-%m-%dT%H:%M:%SZ}",
            "error": dict(self.error),
        }


# --- What calls tell --------------------------------------------------------------------------------------------------
_evidence: dict[tuple[UUID, str], Evidence] = {}
_writing = Lock()


def learn(outcomes: Sequence[tuple[Call, Result]]) -> None:
    """Opens breakers for what fails or is refused, and closes those whose call went through.

    Never raises: what is not written is found again by the next calls.
    """
    now = monotonic()
    worked = [call.attempt_id for call, result in outcomes if has_worked(result)]
    opening: dict[Key, tuple[str, str]] = {}
    for call, result in outcomes:
        stop = stop_of(result.rejection) if isinstance(result, Rejected) else None
        if stop is not None:
            opening[_key_of(stop, call)] = (_reason_of(stop), _told(result))
        elif _is_failing(call, result, now):
            opening[call.project.organization_id, None, call.family] = (BreakerReason.UNAVAILABLE, _told(result))
    try:
        if worked:
            _close(worked)
        if opening:
            _open(opening)
    except DatabaseError as error:
        logger.warning("breakers are left as they are: %s", error)


def retry_in(call: Call) -> float:
    """Takes a retry of its organization and family, and returns after how many seconds there is room for it."""
    now = monotonic()
    with _writing:
        return _evidence_of(call, now).retry_in(now)


def has_failed(result: Result) -> bool:
    """Whether an outcome tells of a provider that does not work: not reached, not answered, or not as it should be."""
    if isinstance(result, Rejected):
        return result.rejection.status >= 500 and result.rejection.code != SLOW_DOWN
    return isinstance(result, Unreachable | Uncertain)


def has_worked(result: Result) -> bool:
    """Whether an outcome tells of a provider that works for this account, be it only well enough to say no."""
    if isinstance(result, Rejected):
        return not has_failed(result) and stop_of(result.rejection) is None
    return isinstance(result, Answer | Accepted)


def _is_failing(call: Call, result: Result, now: float) -> bool:
    with _writing:
        evidence = _evidence_of(call, now)
        evidence.add(now, failed=has_failed(result))
        failing = has_failed(result) and evidence.is_failing(now)
        if failing:
            evidence.clear()
        return failing


def _evidence_of(call: Call, now: float) -> Evidence:
    key = (call.project.organization_id, call.family)
    if key not in _evidence and len(_evidence) >= MOST_FAMILIES:
        for other in [other for other, evidence in _evidence.items() if evidence.is_idle(now)]:
            del _evidence[other]
    return _evidence.setdefault(key, Evidence())


def _key_of(stop: Stop, call: Call) -> Key:
    return (
        call.project.organization_id,
        call.project.pk if stop.is_of_project else None,
        call.family if stop.is_of_family else "",
    )


def _reason_of(stop: Stop) -> str:
    return BreakerReason.QUOTA if stop.is_quota else BreakerReason.ACCESS


def _told(result: Result) -> str:
    """The error of an outcome, as JSON."""
    match result:
        case Rejected(rejection=Rejection() as said):
            told = {"status": said.status, "code": said.code or None, "message": said.message}
        case Uncertain() as doubt:
            told = {"status": doubt.status, "code": doubt.code, "message": str(doubt)}
        case _:
            told = {"status": None, "code": "connection_failed", "message": str(result)}
    return json.dumps(told | {"message": str(told["message"])[:LONGEST_MESSAGE]})


# --- PostgreSQL -------------------------------------------------------------------------------------------------------
def _open(opening: Mapping[Key, tuple[str, str]]) -> None:
    rows = [(*key, str(reason), error) for key, (reason, error) in opening.items()]
    opened: list[tuple[Key, str, str]] = []
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_OPEN, [FIRST_PROBE_SECONDS, *columns(rows)])
            found = cursor.fetchall()
        for breaker_id, organization, project, family in found:
            key = (organization, project, family)
            reason, error = opening[key]
            opened.append((key, reason, error))
            # A person is needed to mend an account; a provider mends itself.
            if reason != BreakerReason.UNAVAILABLE:
                alerts.raise_held_back(
                    organization_id=organization,
                    project_id=project,
                    breaker_id=breaker_id,
                    family=family,
                    reason=BreakerReason(reason).label,
                    message=str(json.loads(error)["message"]),
                )
    for key, reason, error in opened:
        level = logging.WARNING if reason == BreakerReason.UNAVAILABLE else logging.ERROR
        logger.log(level, "calls of %s wait, %s: %s", _named(key), reason, error)


def _close(attempt_ids: Sequence[UUID]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE, [array(attempt_ids)])
        closed = cursor.fetchall()
    for *key, reason in closed:
        logger.warning("calls of %s go on, a call went through: it was %s", _named(key), reason)


def _named(key: Sequence[object]) -> str:
    organization, project, family = key
    return f"{family or 'all models'} of {f'project {project}' if project else f'organization {organization}'}"


def present(now: datetime) -> list[Open]:
    """The breakers that are open."""
    with connection.cursor() as cursor:
        cursor.execute(_PRESENT, [now])
        rows = cursor.fetchall()
    return [
        Open(pk, (organization, project, family), reason, json.loads(error), *rest)
        for pk, organization, project, family, reason, error, *rest in rows
    ]


def note_probes(probes: Mapping[int, UUID], now: datetime) -> None:
    """Notes by breaker which attempts were let through. The next one comes after twice the time."""
    with connection.cursor() as cursor:
        cursor.execute(_PROBED, [now, LONGEST_PROBE_SECONDS, 2 * FIRST_PROBE_SECONDS, *columns([*probes.items()])])
    Attempt.objects.filter(pk__in=set(probes.values())).update(is_probe=True)


def probe_soon(breakers: QuerySet[Breaker]) -> int:
    """Lets a call try at once, because somebody mended what was wrong; returns of how many breakers."""
    return breakers.update(next_probe_at=F("opened_at"))


def figures() -> dict[str, int]:
    """How many breakers are open, by reason; every reason is there."""
    found = Counter(Breaker.objects.values_list("reason", flat=True))
    return {reason: found[reason] for reason in BreakerReason.values}
