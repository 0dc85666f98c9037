"""Content is erased: at somebody's word, or when its project keeps it no longer. The books stay as they are.

What goes are prompt and answer, and the provider's words where a call failed; of batches, what was said of their
lines; of comparisons, what they asked. What stays are the job with its status, model, tokens, cost, times and metadata,
its attempts, and every entry of the books: none of them holds content.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts import audit
from accounts.audit import Who
from accounts.models import AuditAction, Project
from billing.arrays import array
from jobs.batches import erasing
from jobs.batches.states import BATCH_ACTIVE
from jobs.comparisons import erasing as comparison_erasing
from jobs.comparisons.states import ComparisonStatus
from jobs.errors import NotErasable
from jobs.models import Comparison, Job, JobContent

SUBJECT = "job_content"
SUBJECT_OF_COMPARISONS = "comparison_content"
# Of a project that keeps nothing: how long an answer waits to be fetched, and how long it may be fetched once more by
# whoever lost it on the way.
UNFETCHED = timedelta(hours=1)
FETCHED = timedelta(minutes=1)
BATCH = 500
# Of one project in one run, so that none keeps the others waiting; the next run goes on.
MOST_BATCHES = 20

# In one statement, so that a crash leaves all of a job's content or none. What was said of failed calls is the
# provider's, and told to nobody any more; their codes stay.
_ERASE = """
    WITH gone AS (
        UPDATE jobs_job SET content_erased_at = now(), error = error || '{"message": null}'::jsonb
        WHERE id = ANY(%s::uuid[]) AND finished_at IS NOT NULL AND content_erased_at IS NULL
        RETURNING id
    ), silenced AS (
        UPDATE jobs_attempt SET error_message = '' FROM gone
        WHERE jobs_attempt.job_id = gone.id AND error_message <> ''
    ), unsaid AS (
        UPDATE jobs_batchline SET error = NULL FROM gone
        WHERE jobs_batchline.job_id = gone.id AND jobs_batchline.error IS NOT NULL
    ), erased AS (
        DELETE FROM jobs_jobcontent USING gone WHERE job_id = gone.id
    )
    SELECT count(*) FROM gone
"""


@transaction.atomic
def erase(job: Job, *, by: Who, reason: str = "") -> Job:
    """The job, whose content is gone; erasing it again changes nothing. Raises NotErasable while it is not final."""
    erased = _erase([job.pk])
    job.refresh_from_db()
    if erased:
        audit.record(
            AuditAction.DELETED,
            SUBJECT,
            job.pk,
            by=by,
            organization_id=job.organization_id,
            name=str(job),
            after={"content_erased_at": job.content_erased_at},
            reason=reason,
        )
    elif job.content_erased_at is None:
        raise NotErasable
    return job


@transaction.atomic
def erase_comparison(comparison: Comparison, *, by: Who, reason: str = "") -> Comparison:
    """The comparison, whose content is gone and that of its jobs; erasing it again changes nothing.

    Raises NotErasable while it has not ended, or a call of it is in doubt: all of it goes, or nothing.
    """
    # Locked first, so that two who erase it at once never wait for each other's jobs.
    rows = Comparison.objects.select_for_update(of=("self",)).select_related("project").defer("content")
    locked = rows.get(pk=comparison.pk)
    jobs = Job.objects.filter(comparison_run__comparison=locked)
    _check_ended(locked, jobs.filter(finished_at__isnull=True).first())
    erased_jobs = _erase(list(jobs.values_list("pk", flat=True)))
    erased = comparison_erasing.erase([locked.pk])
    comparison.refresh_from_db()
    if erased or erased_jobs:
        audit.record(
            AuditAction.DELETED,
            SUBJECT_OF_COMPARISONS,
            comparison.pk,
            by=by,
            organization_id=locked.project.organization_id,
            name=str(comparison),
            after={"content_erased_at": comparison.content_erased_at, "jobs": erased_jobs},
            reason=reason,
        )
    return comparison


def _check_ended(comparison: Comparison, open_job: Job | None) -> None:
    """Raises NotErasable where what the comparison asks is still needed, with the way out."""
    if comparison.status == ComparisonStatus.CANCELLING:
        raise NotErasable("The comparison is being cancelled. Erase it when the calls that are under way have ended.")
    if not comparison.has_ended:
        raise NotErasable(
            "The comparison still runs: what it asks is still needed. Cancel it first "
            f"(POST /api/v1/comparisons/{comparison.pk}/cancel), or wait for its end."
        )
    if open_job is not None:
        raise NotErasable(
            f"The outcome of the comparison's job {open_job.pk} is not known yet, so what it asks is still needed. "
            "Erase it when that is decided: in the admin, or by the project's policy."
        )


def note_fetched(job: Job) -> None:
    """Notes that the answer of a final job was handed out, where its project keeps it no longer than that."""
    if job.project.content_retention_days == 0 and job.finished_at is not None:
        JobContent.objects.filter(pk=job.pk, fetched_at__isnull=True).update(fetched_at=Now())


def note_all_fetched(project: Project, job_ids: Iterable[UUID]) -> None:
    """The same for the answers of several jobs of one project."""
    if project.content_retention_days == 0:
        final = JobContent.objects.filter(pk__in=list(job_ids), fetched_at__isnull=True, job__finished_at__isnull=False)
        final.update(fetched_at=Now())


def kept_for(project: Project) -> timedelta | None:
    """How long a project keeps content that nobody has fetched, after the end of its job; None: for ever."""
    days = project.content_retention_days
    return None if days is None else timedelta(days=days) if days else UNFETCHED


def erase_due() -> int:
    """Erases what projects keep no longer, in bounded batches; returns of how many jobs."""
    erased = 0
    for project in Project.objects.filter(content_retention_days__isnull=False).order_by("pk"):
        if (kept := kept_for(project)) is not None:
            erased += _erase_due_of(project, kept)
            erasing.erase_due_of(project, kept)
            comparison_erasing.erase_due_of(project, kept)
    return erased


def _erase_due_of(project: Project, kept: timedelta) -> int:
    erased = 0
    for _ in range(MOST_BATCHES):
        due = _due(project, kept)
        erased += _erase(due)
        if len(due) < BATCH:
            break
    return erased


def _due(project: Project, kept: timedelta) -> list[UUID]:
    """Jobs of the project whose content is not to be kept any longer, those that ended first."""
    is_over = Q(finished_at__lte=Now() - kept)
    if project.content_retention_days == 0:
        is_over |= Q(content__fetched_at__lte=Now() - FETCHED)
    held = Job.objects.filter(is_over, project=project, finished_at__isnull=False, content_erased_at__isnull=True)
    # An answer that was paid for still has to get into the file of its batch.
    held = held.exclude(batch_line__batch__status__in=sorted(BATCH_ACTIVE))
    return list(held.order_by("finished_at").values_list("pk", flat=True)[:BATCH])


def _erase(job_ids: Sequence[UUID]) -> int:
    if not job_ids:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_ERASE, [array(job_ids)])
        erased: int = cursor.fetchone()[0]
    return erased
