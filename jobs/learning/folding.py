"""Learns of jobs that have ended: takes them off the list of those that nothing was learnt of, in one transaction.

One learns at a time. Whoever is killed leaves list and distributions as they were before, so each job counts once.
Settlements only add to the list, and wait for nothing here.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from time import monotonic
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q

from jobs.crash_points import reach
from jobs.learning import calibration
from jobs.learning.kinds import Kind, Seen
from jobs.models import Distribution
from jobs.states import JobStatus

logger = logging.getLogger(__name__)

# Key of the advisory lock; any number that nothing else in this database locks.
ONE_LEARNER = 0x42_55_52_53_4C_52
AT_ONCE = 1000
# Distributions that one statement writes; each is some kilobytes.
ROWS_AT_ONCE = 100
# Of the seconds until the beat asks again.
WORK_SECONDS = 2.0
# The finish reasons of answers that would have gone on.
CUT = frozenset({"length", "content_filter"})
# The tokens are those of the usage record of the call that was answered, as it was billed first.
_TAKE = f"""
    WITH taken AS (
        DELETE FROM jobs_unlearnt WHERE job_id IN (SELECT job_id FROM jobs_unlearnt ORDER BY job_id LIMIT %s)
        RETURNING job_id
    )
    SELECT job.id, job.organization_id, job.project_id, job.model, job.reasoning_effort, job.prompt_class,
        job.finish_reason, job.is_empty, job.finished_at, job.bound_input_tokens, job.bound_output_tokens,
        job.expected_p50_tokens, job.expected_p90_tokens, job.expected_p99_tokens, job.expected_usd,
        job.expected_empty, usage.input_tokens, usage.cached_input_tokens, usage.output_tokens,
        usage.reasoning_tokens, usage.total_usd
    FROM taken
    LEFT JOIN jobs_job job ON job.id = taken.job_id AND job.prompt_class <> ''
        AND job.status IN ('{JobStatus.SUCCEEDED}', '{JobStatus.INCOMPLETE}')
    LEFT JOIN LATERAL (
        SELECT record.* FROM jobs_attempt attempt
        JOIN billing_reservation reservation ON reservation.reference = attempt.id
        JOIN billing_usagerecord record ON record.reservation_id = reservation.id
        WHERE attempt.job_id = job.id ORDER BY attempt.number DESC LIMIT 1
    ) usage ON true
    ORDER BY job.finished_at, job.id
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that has its answer: of which kind it was, what was expected of it, and what it came to."""

    job_id: UUID
    organization_id: UUID
    project_id: UUID
    model: str
    reasoning_effort: str
    prompt_class: str
    finish_reason: str
    is_empty: bool
    finished_at: datetime
    bound_input_tokens: int
    bound_output_tokens: int
    expected_p50_tokens: int | None
    expected_p90_tokens: int | None
    expected_p99_tokens: int | None
    expected_usd: Decimal | None
    expected_empty: Decimal | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_usd: Decimal

    @property
    def is_cut(self) -> bool:
        return self.finish_reason in CUT

    @property
    def kinds(self) -> Iterator["Key"]:
        """The distributions that it belongs to: of its project and of all, with its class and with all classes."""
        for project_id in (self.project_id, None):
            for prompt_class in (self.prompt_class, ""):
                yield self.organization_id, self.model, self.reasoning_effort, project_id, prompt_class

    @property
    def seen(self) -> Seen:
        return Seen(
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens,
            bound_input_tokens=self.bound_input_tokens,
            output_tokens=self.output_tokens,
            reasoning_tokens=self.reasoning_tokens,
            is_cut=self.is_cut,
            is_empty=self.is_empty,
        )


# Organization, model, effort, project or None, class or "".
Key = tuple[UUID, str, str, UUID | None, str]


def learn(seconds: float = WORK_SECONDS) -> int:
    """Learns of what has ended, for so long at most; of how many jobs. Nothing where somebody else is learning."""
    give_up_at, learnt = monotonic() + seconds, 0
    while monotonic() < give_up_at:
        done = learn_some()
        learnt += done
        if done < AT_ONCE:
            break
    return learnt


@transaction.atomic
def learn_some(most: int = AT_ONCE) -> int:
    """Learns of some jobs; how many were taken off the list."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [ONE_LEARNER])
        if cursor.fetchone() != (True,):
            return 0
        cursor.execute(_TAKE, [most])
        rows = cursor.fetchall()
    reach("learning.taken")
    # Of a job that was not answered, or by whose class nothing is known, nothing is learnt.
    ended = [Ended(*row) for row in rows if row[0] is not None and row[-1] is not None]
    if ended:
        _learn_kinds(ended)
        calibration.add(ended)
    reach("learning.written")
    return len(rows)


def _learn_kinds(ended: Sequence[Ended]) -> None:
    by_kind: dict[Key, list[Ended]] = defaultdict(list)
    for job in ended:
        for key in job.kinds:
            by_kind[key].append(job)
    known = _known(by_kind)
    new: list[Distribution] = []
    changed: list[Distribution] = []
    for key, calls in by_kind.items():
        row = known.get(key)
        (changed if row else new).append(_with(row or _blank(key), calls))
    Distribution.objects.bulk_create(new)
    changes = ("calls", "cut_calls", "empty_calls", "learnt", "learnt_at")
    Distribution.objects.bulk_update(changed, changes, batch_size=ROWS_AT_ONCE)


def _known(keys: Iterable[Key]) -> dict[Key, Distribution]:
    """The rows of these kinds that there are, some more perhaps. One learns at a time, so nobody else changes them."""
    groups: dict[tuple[UUID, str, str], tuple[set[UUID], set[str]]] = defaultdict(lambda: (set(), set()))
    for organization_id, model, effort, project_id, prompt_class in keys:
        projects, classes = groups[organization_id, model, effort]
        classes.add(prompt_class)
        if project_id is not None:
            projects.add(project_id)
    found: dict[Key, Distribution] = {}
    for (organization_id, model, effort), (projects, classes) in groups.items():
        rows = Distribution.objects.filter(
            Q(project__in=projects) | Q(project__isnull=True),
            organization=organization_id,
            model=model,
            reasoning_effort=effort,
            prompt_class__in=classes,
        )
        found |= {(organization_id, model, effort, row.project_id, row.prompt_class): row for row in rows}
    return found


def _blank(key: Key) -> Distribution:
    organization_id, model, effort, project_id, prompt_class = key
    return Distribution(
        organization_id=organization_id,
        model=model,
        reasoning_effort=effort,
        project_id=project_id,
        prompt_class=prompt_class,
        learnt=Kind().written(),
    )


def _with(row: Distribution, calls: Sequence[Ended]) -> Distribution:
    kind = Kind.read_back(row.learnt)
    kind.learn([call.seen for call in calls])
    row.learnt = kind.written()
    row.calls += len(calls)
    row.cut_calls += sum(call.is_cut for call in calls)
    row.empty_calls += sum(call.is_empty for call in calls)
    row.learnt_at = max(call.finished_at for call in calls)
    return row
