"""Jobs over HTTP: submit, list, look at, cancel."""

from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit
from accounts.api.idempotency_key import idempotency_key
from accounts.api.once import IDEMPOTENCY_KEY, answer_once, location, replayed, text_of
from accounts.idempotency import Answer
from billing.api.contract import ProjectView, page_of, problems
from billing.clock import database_now
from jobs import cancellation, erasure, submission
from jobs.api import examples
from jobs.api.advice import SubmittedJobSerializer, submitted_as_sent
from jobs.api.attempts import AttemptSerializer, attempts_of
from jobs.api.listing import JobQuery, read_page
from jobs.api.representation import JobSerializer, job_as_sent
from jobs.api.submission import SubmissionDocumentation, read_submission
from jobs.models import Job
from jobs.reads import note_read

TAGS = ["Jobs"]
METADATA = OpenApiParameter(
    "metadata[key]", OpenApiTypes.STR, description="Jobs with this pair in their metadata; several must all be there."
)


class JobsView(ProjectView):
    @extend_schema(
        operation_id="submitJob",
        summary="Submit a job",
        description="Checks the prompt, bounds what it can cost, and queues it. The answer comes before the call: look "
        "at the job until its status is final. `advice` says what would make it cheaper; it stands in the way only of "
        "projects that want that (`blocks_on_advice`).",
        tags=TAGS,
        request=SubmissionDocumentation,
        parameters=[IDEMPOTENCY_KEY, replayed(202), location(202, "Where the job is to be looked at.")],
        responses={202: SubmittedJobSerializer, **problems(400, 402, 403, 404, 409, 411, 413, 415, 422, 429)},
        examples=[examples.SUBMISSION, examples.QUEUED, examples.OVER_LIMIT],
    )
    def post(self, request: Request) -> HttpResponse:
        """202 and the queued job; the same answer again for a repetition under the same Idempotency-Key."""
        wanted = read_submission(request.data)

        def submit() -> Answer:
            job = submission.submit(self.api_key, wanted)
            return Answer(202, text_of(submitted_as_sent(job, is_kept=idempotency_key(request) is not None)))

        return answer_once(request, submit)

    @extend_schema(
        operation_id="listJobs",
        summary="List jobs",
        description="The project's jobs, newest first.",
        tags=TAGS,
        parameters=[JobQuery, METADATA],
        responses={200: page_of("JobPage", JobSerializer), **problems(400)},
        examples=[examples.PAGE],
    )
    def get(self, request: Request) -> Response:
        """A page of the project's jobs."""
        page = read_page(jobs_of(self), request)
        shown = [job_as_sent(job) for job in page.jobs]
        note_read(*page.jobs)
        return Response({"data": shown, "has_more": page.next is not None, "next": page.next})


class JobView(ProjectView):
    @extend_schema(
        operation_id="getJob",
        summary="Look at a job",
        description="A finished job has its answer, its tokens and its cost.",
        tags=TAGS,
        responses={200: JobSerializer, **problems(404)},
        examples=[examples.SUCCEEDED, examples.EMPTY, examples.WAITING],
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        """The job as it stands."""
        job = job_of(self, job_id)
        shown = JobSerializer(job, context={"figures_at": database_now()}).data
        note_read(job)
        erasure.note_fetched(job)
        return Response(shown)


class JobCancellationView(ProjectView):
    @extend_schema(
        operation_id="cancelJob",
        summary="Cancel a job",
        description="Cancelling again changes nothing, so no Idempotency-Key is needed. A queued job is cancelled at "
        "once. One that the provider works on in the background goes on to be `running`, with `cancel_asked_at`, until "
        "the provider has stopped it, and is then cancelled with what it had used; if the provider does not say what "
        "that was, it is in doubt. Any other job that is running cannot be cancelled: its call may already be billed.",
        tags=TAGS,
        request=None,
        responses={200: JobSerializer, **problems(404, 409)},
    )
    def post(self, request: Request, job_id: UUID) -> Response:
        """The job, cancelled or about to be."""
        return Response(job_as_sent(cancellation.cancel(job_of(self, job_id))))


class JobErasureView(ProjectView):
    @extend_schema(
        operation_id="eraseJobContent",
        summary="Erase a job's prompt and answer",
        description="At once and for good, of a job that is final. Its status, tokens, cost, times and metadata stay, "
        "and so does every entry of the books. Erasing again changes nothing, so no Idempotency-Key is needed. What "
        "the provider keeps is not Bursar's to erase.",
        tags=TAGS,
        request=None,
        responses={200: JobSerializer, **problems(404, 409)},
        examples=[examples.ERASED],
    )
    def post(self, request: Request, job_id: UUID) -> Response:
        """The job without its content."""
        job = erasure.erase(job_of(self, job_id), by=audit.who(request))
        return Response(job_as_sent(job_of(self, job.pk)))


class AttemptsView(ProjectView):
    @extend_schema(
        operation_id="listAttempts",
        summary="List the attempts of a job",
        description="Each call of the provider for the job, oldest first, with what it held and what it cost.",
        tags=TAGS,
        responses={200: page_of("AttemptPage", AttemptSerializer), **problems(404)},
        examples=[examples.ATTEMPTS],
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        """Every attempt of the job; there are few, so they come in one page."""
        return Response({"data": attempts_of(job_of(self, job_id)), "has_more": False, "next": None})


def jobs_of(view: ProjectView) -> "QuerySet[Job]":
    """The jobs that the caller may see: those of the key's project."""
    return Job.objects.filter(project=view.api_key.project).select_related("content", "project", "queue")


def job_of(view: ProjectView, job_id: UUID) -> Job:
    """One of them. Raises NotFound, for another project's job as for one that never was."""
    job = jobs_of(view).filter(pk=job_id).first()
    if job is None:
        raise NotFound("There is no job with this id.")
    return job
