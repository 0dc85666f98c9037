"""What ended: calls by what came of them, jobs by their outcome, and how long both took.

PostgreSQL has it all, but no counters: counting every attempt ever made would cost more with each. So what ended long
ago is counted once and its count kept in Redis, with the instant up to which it goes; only the attempts of the last
minutes are counted at each scrape. An emptied Redis sets the counters back, as a restart would in any other exporter.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import connection

from accounts.remembered import remembered
from billing.clock import database_now
from config.metrics.text import Family, Kind, Sample, histogram
from jobs import limiter
from jobs.execution.patience import PATIENCE_SECONDS
from jobs.states import AttemptStatus, JobStatus

_KEY = "bursar:metrics:calls"
_UNTIL = b"until"
# What is counted for good is moved on in steps, so that most scrapes only read.
STEP_SECONDS = 60.0
REMEMBERED_SECONDS = 5.0
# Clocks that make the ids of attempts differ by less than this, and waiting for a turn and booking take no longer.
MARGIN_SECONDS = 120.0

# Reasoning models think for seconds to many minutes (the GenAI conventions' bounds end at 82 s, too soon for them).
CALL_BOUNDS = (0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640)
JOB_BOUNDS = (1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 3600, 14400, 86400)
WAIT_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20)

_ENDED = (AttemptStatus.ANSWERED, AttemptStatus.REJECTED, AttemptStatus.RESOLVED)
# A doubt may be resolved, and a counter must not fall: it counts as one only where it has outlived the last minutes.
_SETTLED = (*_ENDED, AttemptStatus.IN_DOUBT)
_OUTCOMES = (JobStatus.SUCCEEDED, JobStatus.INCOMPLETE, JobStatus.FAILED)
# A row for each figure and its labels, with how many and their sum in seconds. A job is counted with its last attempt.
_COUNTED = f"""
    WITH call AS MATERIALIZED (
        SELECT job.model, attempt.status, attempt.error_code, attempt.http_status, attempt.number = job.attempt_count
                AND job.status IN {tuple(status.value for status in _OUTCOMES)} AS is_last,
            job.status AS outcome, extract(epoch FROM attempt.calling_at - attempt.created_at) AS waited,
            extract(epoch FROM attempt.finished_at - attempt.calling_at) AS took,
            extract(epoch FROM job.finished_at - job.queued_at) AS job_took
        FROM jobs_attempt attempt JOIN jobs_job job ON job.id = attempt.job_id
        WHERE attempt.id >= %(since)s AND attempt.id < %(until)s
            AND attempt.status = ANY(%(ended)s::text[])
    )
    SELECT 'requests', model, CASE WHEN status = 'in_doubt' THEN 'in_doubt' WHEN http_status > 0 THEN http_status::text
            ELSE COALESCE(NULLIF(error_code, ''), 'none') END AS label, count(*), 0 FROM call GROUP BY model, label
    UNION ALL
    SELECT 'took', model, width_bucket(took, %(call_bounds)s)::text AS label, count(*), sum(took) FROM call
        WHERE status = 'answered' GROUP BY model, label
    UNION ALL
    SELECT 'waited', '', width_bucket(waited, %(wait_bounds)s)::text AS label, count(*), sum(waited) FROM call
        GROUP BY label
    UNION ALL
    SELECT 'jobs', outcome, '', count(*), 0 FROM call WHERE is_last GROUP BY outcome
    UNION ALL
    SELECT 'job_took', '', width_bucket(job_took, %(job_bounds)s)::text AS label, count(*), sum(job_took) FROM call
        WHERE is_last GROUP BY label
"""  # noqa: S608

Figure = tuple[str, str, str]


class Counts:
    """How many of each figure, and their sums in seconds."""

    def __init__(self, kept: Mapping[bytes, bytes] | None = None) -> None:
        self.counts: Counter[Figure] = Counter()
        self.seconds: defaultdict[Figure, float] = defaultdict(float)
        for field, value in (kept or {}).items():
            if field == _UNTIL:
                continue
            unit, name, one, other = field.decode().split("|")
            if unit == "n":
                self.counts[name, one, other] += int(value)
            else:
                self.seconds[name, one, other] += float(value)

    def add(self, since: datetime, until: datetime, ended: Sequence[AttemptStatus]) -> None:
        """Counts the attempts that were made between two instants, and have ended like this."""
        parameters: dict[str, Any] = {
            "ended": [status.value for status in ended],
            "since": _first_id(since),
            "until": _first_id(until),
            "call_bounds": _above(CALL_BOUNDS),
            "wait_bounds": _above(WAIT_BOUNDS),
            "job_bounds": _above(JOB_BOUNDS),
        }
        with connection.cursor() as cursor:
            cursor.execute(_COUNTED, parameters)
            for name, one, other, count, seconds in cursor.fetchall():
                self.counts[name, one, other] += count
                self.seconds[name, one, other] += float(seconds or 0)

    def of(self, name: str) -> Iterator[tuple[str, str, int, float]]:
        """Labels, count and seconds of one figure."""
        for (figure, one, other), count in sorted(self.counts.items()):
            if figure == name:
                yield one, other, count, self.seconds[figure, one, other]


def families() -> Iterator[Family]:
    """Raises redis.RedisError."""
    counts = _counts()
    yield Family(
        "upstream_requests_total",
        Kind.COUNTER,
        "Calls of the provider that ended, by its HTTP status, or by what happened instead.",
        tuple(Sample(count, {"model": model, "code": code}) for model, code, count, _ in counts.of("requests")),
    )
    told = "From the first byte sent to the answer, of calls that were answered."
    yield _histogram("upstream_duration_seconds", told, counts, "took", CALL_BOUNDS, "model")
    told = "From the dispatch of a call to its beginning: its wait for its turn at the rate limit."
    yield _histogram("ratelimit_wait_seconds", told, counts, "waited", WAIT_BOUNDS)
    yield Family(
        "jobs_total",
        Kind.COUNTER,
        "Jobs whose last call has ended, by outcome. Those that were never called for are not counted.",
        tuple(Sample(count, {"status": status}) for status, _, count, _ in counts.of("jobs")),
    )
    told = "From the submission of those jobs to their outcome."
    yield _histogram("job_duration_seconds", told, counts, "job_took", JOB_BOUNDS)


@remembered(REMEMBERED_SECONDS)
def _counts() -> Counts:
    """Everything: what is kept, moved on if it is time to, and what ended since."""
    now = database_now()
    settled = now - timedelta(seconds=settings.CALL_DEADLINE_SECONDS + PATIENCE_SECONDS + MARGIN_SECONDS)
    kept, until = _kept(settled)
    counts = Counts(kept)
    counts.add(until, now + timedelta(seconds=MARGIN_SECONDS), _ENDED)
    return counts


def _kept(settled: datetime) -> tuple[Mapping[bytes, bytes], datetime]:
    """What Redis keeps, and up to which instant that goes."""
    with limiter.connection().pipeline() as pipeline:
        pipeline.watch(_KEY)  # type: ignore[no-untyped-call]
        kept: dict[bytes, bytes] = pipeline.hgetall(_KEY)  # type: ignore[assignment]  # at once, while watching
        until = datetime.fromisoformat(kept[_UNTIL].decode()) if kept else settled
        if kept and settled - until < timedelta(seconds=STEP_SECONDS):
            return kept, until
        more = Counts()
        if kept:
            more.add(until, settled, _SETTLED)
        pipeline.multi()
        for figure, count in more.counts.items():
            pipeline.hincrby(_KEY, "|".join(("n", *figure)), count)
            pipeline.hincrbyfloat(_KEY, "|".join(("s", *figure)), more.seconds[figure])
        pipeline.hset(_KEY, _UNTIL, settled.isoformat())
        try:
            pipeline.execute()
        except redis.WatchError:  # another process has just done it
            return kept, until
    moved: dict[bytes, bytes] = limiter.connection().hgetall(_KEY)  # type: ignore[assignment]
    return moved, datetime.fromisoformat(moved[_UNTIL].decode()) if moved else settled


def _histogram(name: str, told: str, counts: Counts, figure: str, bounds: tuple[float, ...], label: str = "") -> Family:
    buckets: dict[str, list[int]] = {}
    sums: defaultdict[str, float] = defaultdict(float)
    for owner, bucket, count, seconds in counts.of(figure):
        buckets.setdefault(owner, [0] * (len(bounds) + 1))[int(bucket)] += count
        sums[owner] += seconds
    samples = (
        histogram(bounds, found, round(sums[owner], 6), {label: owner} if label else {})
        for owner, found in buckets.items()
    )
    return Family(name, Kind.HISTOGRAM, told, tuple(sample for of_owner in samples for sample in of_owner))


def _above(bounds: tuple[float, ...]) -> list[float]:
    """The bounds as width_bucket takes them, for which a value that equals one lies above it: a hair later."""
    return [bound + 1e-9 for bound in bounds]


def _first_id(instant: datetime) -> uuid.UUID:
    """The least id that is made at an instant or later: ids begin with their milliseconds (UUIDv7)."""
    return uuid.UUID(int=int(instant.timestamp() * 1000) << 80)
