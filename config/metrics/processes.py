"""Call slots, and which processes do their work: what an autoscaler and an alert go by."""

import platform
from collections.abc import Iterator

import celery
import django

from billing.clock import database_now
from config import alive
from config.metrics.text import Family, Kind, Sample, gauge
from jobs.claiming import claiming
from jobs.demand import demand

# As in pyproject.toml.
VERSION = "0.1.0"


def families() -> Iterator[Family]:
    versions = {
        "version": VERSION,
        "python": platform.python_version(),
        "django": django.__version__,
        "celery": celery.__version__,
    }
    yield Family("build_info", Kind.GAUGE, "Versions of what answers.", (Sample(1, versions),))
    now = database_now()
    found = demand(now)
    yield gauge("call_workers", "Worker processes that take calls.", found.workers)
    yield gauge("call_slots", "Calls that those workers hold at once.", found.slots)
    yield gauge("calls_in_flight", "Calls that are under way or about to be.", found.in_flight)
    yield gauge(
        "call_slots_wanted",
        "Slots that would be in use if there were enough: calls in flight and jobs that wait for a slot alone.",
        found.wanted,
    )
    claims = claiming(now)
    if claims.last_at is not None:
        told = "When the last call began: calls that wait while it stands still say that workers are deaf."
        yield gauge("worker_last_claim_timestamp_seconds", told, claims.last_at.timestamp())
    yield gauge("calls_unclaimed", "Whether calls wait that no worker claims.", int(claims.is_waited_for))


def parts() -> Iterator[Family]:
    """Apart, because it asks Redis."""
    yield Family(
        "part_up",
        Kind.GAUGE,
        f"Whether a part has done its work within {alive.SILENCE_SECONDS} s.",
        tuple(Sample(int(is_heard), {"part": part.value}) for part, is_heard in alive.heard().items()),
    )
