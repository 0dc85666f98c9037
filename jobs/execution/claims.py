"""Which attempts this process has, and when their calls begin: both written before anything follows from them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection

from accounts.models import Project
from accounts.models.encrypted import encrypted
from billing.arrays import array, columns
from jobs import catalogue
from jobs.background.choice import background_request
from jobs.credentials import Access, access_of
from jobs.execution.patience import patiently
from jobs.execution.streaming import as_stream, can_stream
from jobs.models import JobContent
from jobs.states import AttemptStatus
from jobs.transitions import require_legal_attempt

# The pair of metadata by which an answer is found again, and how many pairs there may be (OpenAI API reference, 2026).
ATTEMPT_KEY = "bursar_attempt"
METADATA_PAIRS = 16

_CLAIM = f"""
    WITH claimed AS (
        UPDATE jobs_attempt
        SET fencing_token = %s, worker = %s, lease_expires_at = now() + make_interval(secs => %s)
        WHERE id = ANY(%s::uuid[]) AND status = '{AttemptStatus.CREATED}' AND fencing_token IS NULL
            AND lease_expires_at > now()
        RETURNING id, number, job_id, may_use_headroom
    )
    SELECT claimed.id, claimed.number, claimed.job_id, claimed.may_use_headroom, job.project_id, job.model,
        job.admission_tokens, content.request, job.wants_stream
    FROM claimed JOIN jobs_job job ON job.id = claimed.job_id
        JOIN jobs_jobcontent content ON content.job_id = claimed.job_id
    ORDER BY claimed.id
"""  # noqa: S608
_REQUEST = encrypted(JobContent, "request")
_BEGIN = f"""
    WITH begun AS (
        UPDATE jobs_attempt AS attempt
        SET status = '{AttemptStatus.CALLING}', calling_at = now(), is_findable = new.is_findable
        FROM unnest(%s::uuid[], %s::uuid[], %s::boolean[]) AS new (id, token, is_findable)
        WHERE attempt.id = new.id AND attempt.fencing_token = new.token AND attempt.status = ANY(%s)
        RETURNING attempt.id, attempt.fencing_token, attempt.job_id
    ), started AS (
        UPDATE jobs_job AS job SET started_at = now() FROM begun WHERE job.id = begun.job_id
    )
    SELECT id, fencing_token FROM begun
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Call:
    """An attempt that is ours under a fencing token, with all that its call needs."""

    attempt_id: UUID
    number: int
    token: UUID
    job_id: UUID
    project: Project = field(repr=False)
    access: Access = field(repr=False)
    family: str
    admission_tokens: int
    may_use_headroom: bool
    body: dict[str, Any] = field(repr=False)

    @property
    def is_in_background(self) -> bool:
        return bool(self.body.get("background"))

    @property
    def is_streamed(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def pk(self) -> UUID:
        """The attempt's, as its row calls it."""
        return self.attempt_id

    @property
    def is_findable(self) -> bool:
        """Whether the provider is asked to keep the answer, under the attempt's id."""
        is_listed = not self.body.get("background")  # responses are not
        return is_listed and bool(self.body.get("store")) and ATTEMPT_KEY in (self.body.get("metadata") or {})


def claim(attempt_ids: Iterable[UUID], *, worker: str) -> list[Call]:
    """Those of the attempts that nobody had claimed, and whose lease has not run out: ours from now on.

    The lease then lasts until the furthest turn that they may be given.
    """
    token = uuid4()
    lease_seconds = settings.CLAIM_LEASE_SECONDS + settings.ADMISSION_HORIZON_SECONDS
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [token, worker, lease_seconds, array(attempt_ids)])
        rows = cursor.fetchall()
    if not rows:
        return []
    projects = Project.objects.select_related("organization").in_bulk({row[4] for row in rows})
    accesses = {pk: access_of(project) for pk, project in projects.items()}
    entries = {name: catalogue.find(name) for name in {row[5] for row in rows}}
    return [
        Call(
            attempt_id=attempt_id,
            number=number,
            token=token,
            job_id=job_id,
            project=projects[project_id],
            access=accesses[project_id],
            # A model that has left the catalogue since is called all the same: its money is held.
            family=entry.model.family if (entry := entries[model]) else model,
            admission_tokens=tokens,
            may_use_headroom=may_use_headroom,
            body=_body(
                _REQUEST.opened(request), entry, projects[project_id], accesses[project_id], attempt_id, wants_stream
            ),
        )
        for attempt_id, number, job_id, may_use_headroom, project_id, model, tokens, request, wants_stream in rows
    ]


def begin_patiently(calls: Sequence[Call]) -> list[bool]:
    """What `begin_all` returns, once the database is there to say it.

    A beginning that was cut off may have been committed: repeated, it takes what it then finds written for its own.
    Otherwise a call that nobody makes would count as under way until long after its deadline.
    """
    tries = count()
    return patiently(lambda: begin_all(calls, is_repeated=next(tries) > 0))


def begin_all(calls: Sequence[Call], *, is_repeated: bool = False) -> list[bool]:
    """Commits that the calls begin, before their first byte is sent. False for those that were given back meanwhile."""
    require_legal_attempt(AttemptStatus.CREATED, AttemptStatus.CALLING)
    begin_from = [AttemptStatus.CREATED, AttemptStatus.CALLING] if is_repeated else [AttemptStatus.CREATED]
    rows = [(call.attempt_id, call.token, call.is_findable) for call in calls]
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN, [*columns(rows), array(begin_from)])
        begun = set(cursor.fetchall())
    return [(call.attempt_id, call.token) in begun for call in calls]


def _body(
    request: dict[str, Any],
    entry: catalogue.CatalogueEntry | None,
    project: Project,
    access: Access,
    attempt_id: UUID,
    wants_stream: bool,
) -> dict[str, Any]:
    """The request for the provider: for a stream, where that is wanted and can be had."""
    if wants_stream and can_stream(request, entry, access):
        # By chat, also where calls are made in the background: who asks how far it is does not see what it says.
        return as_stream(_findable(request, entry, project, access, attempt_id, in_background=False))
    return _findable(request, entry, project, access, attempt_id)


def _findable(
    request: dict[str, Any],
    entry: catalogue.CatalogueEntry | None,
    project: Project,
    access: Access,
    attempt_id: UUID,
    *,
    in_background: bool = True,
) -> dict[str, Any]:
    """The request, made in the background where it may; where the provider may keep its answer, it is found by our id.

    Not where the caller or the project does not want it kept, or has used up the pairs of metadata that there may be.
    """
    metadata = {**(request.get("metadata") or {}), ATTEMPT_KEY: str(attempt_id)}
    if project.content_retention_days == 0 and request.get("store"):
        request = {**request, "store": False}
    is_wanted = request.get("store") is not False and project.content_retention_days != 0
    may_keep = settings.STORE_COMPLETIONS and access.keeps_answers and is_wanted
    if not may_keep or entry is None or len(metadata) > METADATA_PAIRS:
        return request
    response = background_request(request, entry.model, access.base_url) if in_background else None
    if response is not None:
        return {**response, "metadata": metadata}
    if not {"store", "metadata"} <= set(entry.model.parameters):
        return request
    return {**request, "store": True, "metadata": metadata}
