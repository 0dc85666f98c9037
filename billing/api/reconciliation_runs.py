"""`POST /reconciliation`: has a worker compare the books with the provider's bill, and says what came of it."""

from datetime import UTC, date, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.access import Capability
from accounts.api.contract import problems
from accounts.api.management import Body, ManagementView, read_body
from accounts.api.once import IDEMPOTENCY_KEY, answer_once, location, replayed, text_of
from accounts.idempotency import Answer
from accounts.provider_accounts import account_of
from billing.clock import database_now
from billing.models import Origin, ReconciliationRun
from billing.periods import month_of
from billing.reconciliation import runs

TAGS = ["Spend and limits"]
# The provider's bill is fetched day by day and project by project.
MOST_DAYS = 92


class ReconciliationOrder(Body):
    """Which days to compare; by default this month up to today."""

    def get_fields(self) -> dict[str, serializers.Field]:
        # A method, because `from` is a word of Python and cannot be the name of an attribute.
        return {
            "from": serializers.DateField(required=False, help_text="First UTC day. Default: the first of this month."),
            "to": serializers.DateField(required=False, help_text="The UTC day after the last. Default: tomorrow."),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        now = database_now()
        tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
        first: date = attrs.get("from") or month_of(now).start.date()
        end: date = attrs.get("to") or tomorrow
        if not 0 < (end - first).days <= MOST_DAYS or end > tomorrow:
            message = (
                f"From {first} to {end}: `to` is exclusive, comes after `from`, at most {MOST_DAYS} days later, and "
                f"no later than tomorrow, {tomorrow}."
            )
            raise serializers.ValidationError({"to": message})
        return {"from": first, "to": end}


class ReconciliationRunSerializer(serializers.Serializer):
    def get_fields(self) -> dict[str, serializers.Field]:
        return {
            "id": serializers.UUIDField(),
            "from": serializers.DateField(source="first_day"),
            "to": serializers.DateField(source="end_day", help_text="Exclusive."),
            "outcome": serializers.ChoiceField(
                choices=[(name, name) for name in ("waiting", "under_way", "done", "broken_off")]
            ),
            "failure": serializers.CharField(allow_blank=True, help_text="What broke it off."),
            "asked_at": serializers.DateTimeField(),
            "finished_at": serializers.DateTimeField(allow_null=True),
        }

    def to_representation(self, instance: ReconciliationRun) -> dict[str, Any]:
        shown = super().to_representation(instance)
        return {**shown, "outcome": instance.outcome.replace(" ", "_")}


_RUN = {
    "id": "019ab3c5-77aa-7c01-9d00-0f0e0d0c6666",
    "from": "2026-11-01",
    "to": "2026-11-24",
    "outcome": "waiting",
    "failure": "",
    "asked_at": "2026-11-23T10:00:00Z",
    "finished_at": None,
}


class ReconciliationAsking(ManagementView):
    """The POST of `/reconciliation`, whose GET is in the class that adds it."""

    takes = {"POST": Capability.REVIEW_SPEND}

    @extend_schema(
        operation_id="askForReconciliation",
        summary="Compare with the provider's bill now",
        description="A worker fetches the bill of the organization's account at the provider. `Location` says how far "
        "it is; what it found is at `GET /reconciliation`.",
        tags=TAGS,
        request=ReconciliationOrder,
        parameters=[IDEMPOTENCY_KEY, replayed(202), location(202, "Where to see what came of it.")],
        responses={202: ReconciliationRunSerializer, **problems(400, 403, 409, 411, 413, 415, 422)},
        examples=[
            OpenApiExample("Some days", value={"from": "2026-11-01", "to": "2026-11-24"}, request_only=True),
            OpenApiExample("It waits for a worker", value=_RUN, response_only=True, status_codes=["202"]),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """202 and the run, which a worker carries out."""
        days = read_body(request, ReconciliationOrder)

        @transaction.atomic
        def ask() -> Answer:
            account = account_of(self.organization)
            run = runs.ask(account, Origin.API, days["from"], days["to"], actor=self.person)
            transaction.on_commit(lambda: runs.hand_over(run))
            return Answer(202, text_of(ReconciliationRunSerializer(run).data))

        return answer_once(request, ask, below="/runs")


class ReconciliationRunView(ManagementView):
    takes = {"GET": Capability.REVIEW_SPEND}

    @extend_schema(
        operation_id="getReconciliationRun",
        summary="How far a comparison is",
        tags=TAGS,
        responses={200: ReconciliationRunSerializer, **problems(403, 404)},
        examples=[
            OpenApiExample(
                "Done",
                value={**_RUN, "outcome": "done", "finished_at": "2026-11-23T10:00:04Z"},
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request, run_id: UUID) -> Response:
        """A run that the key's maker asked for."""
        account = account_of(self.organization)
        asked = ReconciliationRun.objects.filter(organization=account.organization, actor=self.person)
        run = asked.filter(pk=run_id).first()
        if run is None:
            raise NotFound("There is no comparison with this id.")
        return Response(ReconciliationRunSerializer(run).data)
