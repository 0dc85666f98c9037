"""Comparisons over HTTP: make, list, look at, take the runs, cancel, erase."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit
from accounts.api.management import NumberedPageQuery, PageQuery, address_of_next, answer_rows, rows_from
from accounts.api.once import IDEMPOTENCY_KEY, answer_once, location, replayed, text_of
from accounts.idempotency import Answer
from billing.api.contract import ProjectView, page_of, problems, read_query
from billing.csv_files import attached, written
from jobs import erasure
from jobs.api.comparisons import examples
from jobs.api.comparisons.bodies import ComparisonDocumentation, read_comparison
from jobs.api.comparisons.representation import (
    ComparisonSerializer,
    ComparisonSummarySerializer,
    RunSerializer,
    comparison_as_sent,
    run_as_sent,
    summary_as_sent,
)
from jobs.comparisons import creation, steps
from jobs.comparisons.files import COLUMNS, rows_of
from jobs.comparisons.outcomes import outcomes_of, progress_of, runs_of
from jobs.comparisons.results import answers_of, results_of
from jobs.models import Comparison

TAGS = ["Comparisons"]


class ComparisonQuery(serializers.Serializer):
    answers = serializers.BooleanField(default=True, help_text="`false` leaves the answers out: for looking often.")


class ComparisonsView(ProjectView):
    @extend_schema(
        operation_id="createComparison",
        summary="Compare models, efforts, caps and wordings",
        description="Runs each prompt on each variant, `times` times, as ordinary jobs that never come to more than "
        "`max_cost_usd` together. Everything is checked as a submission of it would be before anything is stored. Runs "
        "go round by round, so that a comparison that meets its ceiling has every prompt on every variant once before "
        "any twice; what does not fit is not run, and says so. The jobs have `comparison_id` in their metadata.",
        tags=TAGS,
        request=ComparisonDocumentation,
        parameters=[IDEMPOTENCY_KEY, replayed(202), location(202, "Where the comparison is to be looked at.")],
        responses={202: ComparisonSummarySerializer, **problems(400, 402, 403, 404, 409, 411, 413, 415, 422, 429)},
        examples=[examples.SUBMISSION, examples.RUNNING],
    )
    def post(self, request: Request) -> HttpResponse:
        """202 and the comparison; the same answer again for a repetition under the same Idempotency-Key."""
        wanted = read_comparison(request.data)

        def create() -> Answer:
            return Answer(202, text_of(_summary(creation.create(self.api_key, wanted))))

        return answer_once(request, create)

    @extend_schema(
        operation_id="listComparisons",
        summary="List comparisons",
        description="The project's comparisons, newest first, without their figures.",
        tags=TAGS,
        parameters=[PageQuery],
        responses={200: page_of("ComparisonPage", ComparisonSummarySerializer), **problems(400)},
    )
    def get(self, request: Request) -> Response:
        """A page of the project's comparisons."""
        query = read_query(request, PageQuery)
        rows = rows_from(comparisons_of(self).defer("content"), query)
        return answer_rows(request, rows, query["limit"], _summaries)


class ComparisonView(ProjectView):
    @extend_schema(
        operation_id="getComparison",
        summary="Look at a comparison",
        description="Tokens, latency, cost and saving by variant and by prompt, with the answers side by side: for "
        "each prompt and variant the first that came. All runs are listed apart.",
        tags=TAGS,
        parameters=[ComparisonQuery],
        responses={200: ComparisonSerializer, **problems(400, 404)},
        examples=[examples.COMPLETED],
    )
    def get(self, request: Request, comparison_id: UUID) -> Response:
        """The comparison as it stands."""
        wants_answers = read_query(request, ComparisonQuery)["answers"]
        comparison = comparison_of(self, comparison_id)
        results = results_of(comparison)
        answers = _handed_out(comparison, results.answered_jobs) if wants_answers else {}
        return Response(comparison_as_sent(comparison, results, answers))


class ComparisonCancellationView(ProjectView):
    @extend_schema(
        operation_id="cancelComparison",
        summary="Cancel a comparison",
        description="What has not started is withdrawn; calls under way go on, are billed and are counted. Cancelling "
        "again changes nothing, so no Idempotency-Key is needed.",
        tags=TAGS,
        request=None,
        responses={200: ComparisonSummarySerializer, **problems(404, 409)},
    )
    def post(self, request: Request, comparison_id: UUID) -> Response:
        """The comparison, cancelled or about to be. Raises ComparisonNotCancellable."""
        return Response(_summary(steps.cancel(comparison_of(self, comparison_id))))


class ComparisonErasureView(ProjectView):
    @extend_schema(
        operation_id="eraseComparisonContent",
        summary="Erase what a comparison asked and was answered",
        description="At once and for good, of a comparison that has ended: prompts, wordings and parameters, and "
        "prompt and answer of each of its jobs. Names, models, figures and costs stay, and so does every entry of the "
        "books. One that runs is refused: cancel it first. So is one with a job whose call is in doubt, until that is "
        "decided: all of it goes, or nothing. Erasing again changes nothing, so no Idempotency-Key is needed. What the "
        "provider keeps is not Bursar's to erase.",
        tags=TAGS,
        request=None,
        responses={200: ComparisonSummarySerializer, **problems(404, 409)},
        examples=[examples.ERASED, examples.NOT_ERASABLE],
    )
    def post(self, request: Request, comparison_id: UUID) -> Response:
        """The comparison without its content. Raises NotErasable."""
        comparison = erasure.erase_comparison(comparison_of(self, comparison_id), by=audit.who(request))
        return Response(_summary(comparison))


class ComparisonRunsView(ProjectView):
    @extend_schema(
        operation_id="listComparisonRuns",
        summary="List the runs of a comparison",
        description="Each prompt on each variant, every time, in the order in which they become jobs.",
        tags=TAGS,
        parameters=[NumberedPageQuery],
        responses={200: page_of("ComparisonRunPage", RunSerializer), **problems(400, 404)},
    )
    def get(self, request: Request, comparison_id: UUID) -> Response:
        """A page of runs with their answers."""
        query = read_query(request, NumberedPageQuery)
        comparison = comparison_of(self, comparison_id)
        found = runs_of(comparison).filter(number__gt=query.get("cursor", 0))
        rows = list(found[: query["limit"] + 1])
        there, more = rows[: query["limit"]], len(rows) > query["limit"]
        answers = _handed_out(comparison, [run.job_id for run in there if run.job_id])
        return Response(
            {
                "data": [run_as_sent(one, answers) for one in outcomes_of(there)],
                "has_more": more,
                "next": address_of_next(request, there[-1].number) if more else None,
            }
        )


class ComparisonFileView(ProjectView):
    @extend_schema(
        operation_id="exportComparisonRuns",
        summary="The runs of a comparison as CSV",
        description="A row a run, with its answer.",
        tags=TAGS,
        responses={(200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "CSV"), **problems(404)},
    )
    def get(self, request: Request, comparison_id: UUID) -> HttpResponse:
        """All runs in one file."""
        comparison = comparison_of(self, comparison_id)
        runs = outcomes_of(runs_of(comparison))
        answers = _handed_out(comparison, [one.run.job_id for one in runs if one.run.job_id])
        text = written(COLUMNS, rows_of(comparison, runs, answers))
        return attached(text, f"comparison-{comparison.pk}.csv", **{"Cache-Control": "no-store"})


def comparisons_of(view: ProjectView) -> "QuerySet[Comparison]":
    """The comparisons that the caller may see: those of the key's project."""
    return Comparison.objects.filter(project=view.api_key.project).select_related("project")


def comparison_of(view: ProjectView, comparison_id: UUID) -> Comparison:
    """One of them. Raises NotFound, for another project's comparison as for one that never was."""
    comparison = comparisons_of(view).filter(pk=comparison_id).first()
    if comparison is None:
        raise NotFound("There is no comparison with this id.")
    return comparison


def _summary(comparison: Comparison) -> dict[str, Any]:
    return summary_as_sent(comparison, progress_of([comparison])[comparison.pk])


def _summaries(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    progress = progress_of(comparisons)
    return [summary_as_sent(comparison, progress[comparison.pk]) for comparison in comparisons]


def _handed_out(comparison: Comparison, job_ids: Sequence[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
    """The answers of these jobs. Where a project keeps none, they go soon after they were handed out: they are handed
    out when all of them are there.
    """
    if comparison.project.content_retention_days == 0 and not comparison.has_ended:
        return {}
    answers = answers_of(job_ids)
    erasure.note_all_fetched(comparison.project, answers)
    return answers
