"""`/quota-requests`: ask for more, look, and decide."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.management import Body, answer_rows, read_body, rows_from
from accounts.api.once import IDEMPOTENCY_KEY, answer_once, location, replayed, text_of
from accounts.api.permissions import IsManagementKey
from accounts.audit import who
from accounts.idempotency import Answer
from billing.api.contract import ProjectView, page_of, problems, read_query
from billing.api.quotas import examples
from billing.api.quotas.bodies import ApprovalSerializer, AskSerializer, RefusalSerializer, faults_by_field
from billing.api.quotas.reading import (
    QuotaRequestQuery,
    in_force,
    one_of,
    quotas_of,
    requests_of,
    sent_requests,
)
from billing.api.quotas.representation import QuotaRequestSerializer, request_as_sent
from billing.models import Quota, QuotaRequest
from billing.quotas import asking

TAGS = ["Quotas"]


class RequestRoutes(ProjectView):
    def asked(self, request_id: UUID) -> QuotaRequest:
        """A request that the key sees. Raises NotFound."""
        return one_of(requests_of(self.api_key), request_id)


class QuotaRequestsView(RequestRoutes):
    @extend_schema(
        operation_id="listQuotaRequests",
        summary="List requests for more",
        description="Those of the key's maker; for a management key, those too that its maker may decide about.",
        tags=TAGS,
        parameters=[QuotaRequestQuery],
        responses={200: page_of("QuotaRequestPage", QuotaRequestSerializer), **problems(400)},
        examples=[examples.REQUESTS],
    )
    def get(self, request: Request) -> Response:
        """A page of requests, newest first."""
        query = read_query(request, QuotaRequestQuery)
        rows = requests_of(self.api_key)
        if "status" in query:
            rows = rows.filter(status=query["status"])
        return answer_rows(request, rows_from(rows, query), query["limit"], sent_requests)

    @extend_schema(
        operation_id="askForQuota",
        summary="Ask for more",
        description="Of a quota that the key sees, until an instant. Whoever manages it is told by e-mail and decides. "
        "The key's maker is an owner, admin or member, or leads a team.",
        tags=TAGS,
        request=AskSerializer,
        parameters=[IDEMPOTENCY_KEY, replayed(201), location(201, "Where the request is to be looked at.")],
        responses={201: QuotaRequestSerializer, **problems(400, 403, 404, 409, 411, 413, 415, 422)},
        examples=[examples.ASK, examples.ASKED],
    )
    def post(self, request: Request) -> HttpResponse:
        """201 and the request, which is pending."""
        body = read_body(request, AskSerializer)

        def ask() -> dict[str, Any]:
            quota = one_of(quotas_of(self.api_key), body["quota"]) if "quota" in body else self._at(body["scope"])
            with faults_by_field():
                made = asking.ask(
                    *(quota, body["amount"]),
                    reason=body["reason"],
                    until=body.get("until"),
                    asked_by=self.api_key.created_by,
                    by=who(request),
                )
            return request_as_sent(made)

        return answer_once(request, lambda: Answer(201, text_of(ask())))

    def _at(self, scope: str) -> Quota:
        """The one quota of a level that the key sees. Raises ValidationError where there is none, or several."""
        found = list(in_force(quotas_of(self.api_key)).filter(scope=scope)[:2])
        if len(found) != 1:
            some = "several quotas; name one by `quota`" if found else "no quota; ask at the level that binds"
            raise ValidationError({"scope": [ErrorDetail(f"At this level there is {some}.", code="invalid")]})
        return found[0]


class QuotaRequestView(RequestRoutes):
    @extend_schema(
        operation_id="getQuotaRequest",
        summary="Look at a request for more",
        tags=TAGS,
        responses={200: QuotaRequestSerializer, **problems(404)},
        examples=[examples.ONE_REQUEST],
    )
    def get(self, request: Request, request_id: UUID) -> Response:
        """The request, and what became of it."""
        return Response(request_as_sent(self.asked(request_id)))


class _DecisionView(RequestRoutes):
    permission_classes = [IsAuthenticated, IsManagementKey]

    def decided(self, request_id: UUID, reader: type[Body], decide: Callable[..., QuotaRequest]) -> HttpResponse:
        """The request after the decision of the key's maker."""
        body = read_body(self.request, reader)

        def answer() -> Answer:
            asked, person = self.asked(request_id), self.api_key.created_by
            with faults_by_field():
                decided = decide(asked, decider=person, by=who(self.request), **body)
            return Answer(200, text_of(request_as_sent(decided)))

        return answer_once(self.request, answer, below=None)


class ApprovalView(_DecisionView):
    @extend_schema(
        operation_id="approveQuotaRequest",
        summary="Approve a request for more",
        description="Raises the quota at once, by what was asked for or by another amount; the raise ends by itself. "
        "Nobody but an owner decides about a request of their own.",
        tags=TAGS,
        request=ApprovalSerializer,
        parameters=[IDEMPOTENCY_KEY, replayed(200)],
        responses={200: QuotaRequestSerializer, **problems(400, 403, 404, 409, 411, 413, 415, 422)},
        examples=[examples.APPROVE, examples.APPROVED],
    )
    def post(self, request: Request, request_id: UUID) -> HttpResponse:
        """The request, approved."""
        return self.decided(request_id, ApprovalSerializer, asking.approve)


class RefusalView(_DecisionView):
    @extend_schema(
        operation_id="refuseQuotaRequest",
        summary="Refuse a request for more",
        tags=TAGS,
        request=RefusalSerializer,
        parameters=[IDEMPOTENCY_KEY, replayed(200)],
        responses={200: QuotaRequestSerializer, **problems(400, 403, 404, 409, 411, 413, 415, 422)},
        examples=[examples.REFUSE],
    )
    def post(self, request: Request, request_id: UUID) -> HttpResponse:
        """The request, refused."""
        return self.decided(request_id, RefusalSerializer, asking.refuse)


class WithdrawalView(RequestRoutes):
    @extend_schema(
        operation_id="withdrawQuotaRequest",
        summary="Take back a request for more",
        tags=TAGS,
        request=None,
        parameters=[IDEMPOTENCY_KEY, replayed(200)],
        responses={200: QuotaRequestSerializer, **problems(400, 403, 404, 409, 422)},
    )
    def post(self, request: Request, request_id: UUID) -> HttpResponse:
        """The request, withdrawn."""

        def withdraw() -> dict[str, Any]:
            person = self.api_key.created_by
            return request_as_sent(asking.withdraw(self.asked(request_id), person=person, by=who(request)))

        return answer_once(request, lambda: Answer(200, text_of(withdraw())), below=None)
