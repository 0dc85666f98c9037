"""`/quotas`: list, make, look at, change, end, and preview."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.management import answer_rows, read_body, rows_from
from accounts.api.once import IDEMPOTENCY_KEY, answer_once, location, replayed, text_of
from accounts.api.permissions import IsManagementKey
from accounts.audit import who
from accounts.idempotency import Answer
from billing.api.contract import ProjectView, page_of, problems, read_query
from billing.api.quotas import examples
from billing.api.quotas.bodies import (
    PreviewBodySerializer,
    QuotaBodySerializer,
    QuotaPatchSerializer,
    faults_by_field,
    month_of_text,
    quota_of,
)
from billing.api.quotas.reading import QuotaQuery, in_force, one_of, quotas_of, sent
from billing.api.quotas.representation import PreviewSerializer, QuotaSerializer, preview_as_sent
from billing.clock import database_now
from billing.errors import NotAllowed
from billing.models import Quota
from billing.quotas import changes, rights
from billing.quotas.preview import last_month, preview

TAGS = ["Quotas"]


class QuotaRoutes(ProjectView):
    """Any key reads; a management key changes what its maker may change."""

    def get_permissions(self) -> Sequence[BasePermission]:
        is_read = self.request.method in {"GET", "HEAD", "OPTIONS"}
        return [IsAuthenticated()] if is_read else [IsAuthenticated(), IsManagementKey()]

    def quota(self, quota_id: UUID) -> Quota:
        """A quota that the key sees. Raises NotFound."""
        return one_of(quotas_of(self.api_key), quota_id)

    def managed(self, quota_id: UUID) -> Quota:
        """A quota that the key's maker manages. Raises NotFound, and NotAllowed for one that they only see."""
        return self.require(self.quota(quota_id))

    def require(self, quota: Quota) -> Quota:
        if not rights.may_manage(self.api_key.created_by, quota):
            raise NotAllowed
        return quota


class QuotasView(QuotaRoutes):
    @extend_schema(
        operation_id="listQuotas",
        summary="List quotas",
        description="Those that bind the key's own calls; for a management key, those that its maker sees.",
        tags=TAGS,
        parameters=[QuotaQuery],
        responses={200: page_of("QuotaPage", QuotaSerializer), **problems(400)},
        examples=[examples.QUOTAS],
    )
    def get(self, request: Request) -> Response:
        """A page of quotas with how full they stand."""
        query = read_query(request, QuotaQuery)
        rows = quotas_of(self.api_key)
        if query["in_force"]:
            rows = in_force(rows)
        if "scope" in query:
            rows = rows.filter(scope=query["scope"])
        return answer_rows(request, rows_from(rows, query), query["limit"], sent)

    @extend_schema(
        operation_id="createQuota",
        summary="Make a quota",
        description="It counts from the beginning of its window: what was used and is held already is counted, too. "
        "Needs a management key whose maker manages quotas there.",
        tags=TAGS,
        request=QuotaBodySerializer,
        parameters=[IDEMPOTENCY_KEY, replayed(201), location(201, "Where the quota is to be looked at.")],
        responses={201: QuotaSerializer, **problems(400, 403, 409, 411, 413, 415, 422)},
        examples=[examples.NEW, examples.CREATED],
    )
    def post(self, request: Request) -> HttpResponse:
        """201 and the quota."""
        person, organization = self.api_key.created_by, self.api_key.project.organization
        if not rights.may_manage_any(person, organization.pk):
            raise NotAllowed
        body = read_body(request, QuotaBodySerializer)

        def make() -> dict[str, Any]:
            quota = self.require(quota_of(body, organization, person))
            with faults_by_field():
                changes.create(quota, by=who(request))
            return sent([quota])[0]

        return answer_once(request, lambda: Answer(201, text_of(make())))


class QuotaView(QuotaRoutes):
    @extend_schema(
        operation_id="getQuota",
        summary="Look at a quota",
        tags=TAGS,
        responses={200: QuotaSerializer, **problems(404)},
        examples=[examples.ONE],
    )
    def get(self, request: Request, quota_id: UUID) -> Response:
        """The quota with how full it stands."""
        return Response(sent([self.quota(quota_id)])[0])

    @extend_schema(
        operation_id="changeQuota",
        summary="Change a quota",
        description="The open window follows at once, and jobs that waited for it start. A limit below what is "
        "spent and held stops new calls only. `POST /quotas/preview` says beforehand what it would have refused.",
        tags=TAGS,
        request=QuotaPatchSerializer,
        responses={200: QuotaSerializer, **problems(400, 403, 404, 411, 413, 415)},
        examples=[examples.NEW_LIMIT, examples.ONE],
    )
    def patch(self, request: Request, quota_id: UUID) -> Response:
        """The quota as it is now."""
        quota = self.managed(quota_id)
        body = read_body(request, QuotaPatchSerializer)
        with faults_by_field():
            changed = changes.change(quota, body, by=who(request))
        return Response(sent([changed])[0])

    @extend_schema(
        operation_id="removeQuota",
        summary="End a quota",
        description="One that was never used is deleted. One that was is ended now and kept, with what it counted.",
        tags=TAGS,
        request=None,
        responses={204: None, **problems(403, 404)},
    )
    def delete(self, request: Request, quota_id: UUID) -> Response:
        """204, whether it was deleted or ended."""
        changes.remove(self.managed(quota_id), by=who(request))
        return Response(status=204)


class QuotaPreviewView(QuotaRoutes):
    @extend_schema(
        operation_id="previewQuota",
        summary="What a quota would have refused",
        description="Replays a month's calls in the order of their dispatch against the limit, with what they held "
        "while they ran. Nothing is written.",
        tags=TAGS,
        request=PreviewBodySerializer,
        parameters=[IDEMPOTENCY_KEY, replayed(200)],
        responses={200: PreviewSerializer, **problems(400, 403, 404, 409, 411, 413, 415, 422)},
        examples=[examples.TRY, examples.PREVIEWED],
    )
    def post(self, request: Request) -> HttpResponse:
        """What the limit would have done."""
        body = read_body(request, PreviewBodySerializer)

        def replay() -> dict[str, Any]:
            if "quota" in body:
                quota = self.managed(body["quota"])
            else:
                quota = self.require(quota_of(body, self.api_key.project.organization, self.api_key.created_by))
            month = month_of_text(body.get("month"), last_month(database_now()))
            with faults_by_field():
                return preview_as_sent(preview(quota, body["limit"], month))

        return answer_once(request, lambda: Answer(200, text_of(replay())), below=None)
