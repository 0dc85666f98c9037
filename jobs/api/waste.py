"""`GET /waste`: what a project's month bought nothing for, and what to do about it."""

from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Project
from billing.api.contract import ProjectView, UsdField, problems, read_query
from billing.api.export import FormatIsOurs
from billing.api.spend import OwnerSerializer
from billing.clock import database_now
from billing.csv_files import attached
from billing.periods import month_of
from billing.reach import reach_of_key
from jobs.api import examples
from jobs.models import WasteReport
from jobs.waste.categories import TOLD, Category
from jobs.waste.making import is_current
from jobs.waste.preparing import report_of
from jobs.waste.telling import Line, as_csv, summary_of


class WasteQuery(serializers.Serializer):
    def get_fields(self) -> dict[str, serializers.Field]:
        return {
            "month": serializers.RegexField(
                r"^2\d{3}-(0[1-9]|1[0-2])$", required=False, help_text="As 2026-11, UTC. Default: this month."
            ),
            "project": serializers.UUIDField(required=False, help_text="Default: the key's own."),
            "format": serializers.ChoiceField(choices=[("json", "json"), ("csv", "csv")], default="json"),
        }


class WasteCategorySerializer(serializers.Serializer):
    category = serializers.ChoiceField(choices=Category.choices)
    usd = UsdField()
    jobs = serializers.IntegerField()
    is_upper_estimate = serializers.BooleanField()
    reckoned = serializers.CharField(help_text="How it is reckoned, for people.")
    to_do = serializers.CharField(help_text="What to do about it, for people.")
    jobs_url = serializers.CharField(
        allow_null=True, help_text="Where the jobs are listed; null for another project, whose key lists them."
    )


class SwitchSerializer(serializers.Serializer):
    model = serializers.CharField()
    instead = serializers.CharField()
    because = serializers.ChoiceField(
        choices=["successor", "used alike"],
        help_text="`successor`: the catalogue names it. `used alike`: it answered like prompts as often.",
    )
    calls = serializers.IntegerField()
    usd = UsdField()


class WasteSerializer(serializers.Serializer):
    """A project's month. `wasted_usd`, `useful_usd` and `corrections_usd` sum to `ledger_usd`, to the last digit."""

    object = serializers.CharField(help_text="`waste_report`")
    month = serializers.CharField()
    project = OwnerSerializer()
    status = serializers.ChoiceField(
        choices=["ready", "preparing"],
        help_text="`preparing`: so many calls are reckoned in the background; ask again in ten minutes.",
    )
    is_current = serializers.BooleanField(help_text="Whether nothing was booked since it was reckoned.")
    reckoned_at = serializers.DateTimeField(allow_null=True)
    calls = serializers.IntegerField()
    ledger_usd = UsdField(help_text="The project's ledger entries of the month.")
    wasted_usd = UsdField()
    useful_usd = UsdField()
    corrections_usd = UsdField(help_text="Booked beside any call.")
    categories = WasteCategorySerializer(many=True, help_text="A dollar is in the first that it fits.")
    switches = SwitchSerializer(many=True, help_text="Of `dear_model`: which model instead of which.")


class WasteView(ProjectView):
    content_negotiation_class = FormatIsOurs

    @extend_schema(
        operation_id="getWaste",
        summary="What was wasted",
        description="What a project's month bought nothing for: paid calls beside the answer, empty, refused, unread "
        "and overlong answers, input that missed the cache, and models that a cheaper one could replace.",
        tags=["Spend and limits"],
        parameters=[WasteQuery],
        responses={
            (200, "application/json"): WasteSerializer,
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "CSV"),
            **problems(400, 404),
        },
        examples=[examples.WASTE],
    )
    def get(self, request: Request) -> Response | HttpResponse:
        """The report; empty and `preparing` where it is not there yet."""
        query = read_query(request, WasteQuery)
        project = self._project(query.get("project"))
        month = date.fromisoformat(f"{query['month']}-01") if "month" in query else _this_month()
        if month > _this_month():
            raise serializers.ValidationError({"month": "This month has not begun."})
        report = report_of(project, month)
        if query["format"] == "csv":
            return attached(as_csv([report] if report else []), f"{project.slug}-waste-{month:%Y-%m}.csv")
        shown = report or WasteReport(project=project, month=month)
        return Response(self._sent(shown, is_ready=report is not None))

    def _project(self, project_id: UUID | None) -> Project:
        """The project that is asked for. Raises NotFound for one that the key may not see."""
        own = self.api_key.project
        if project_id is None or project_id == own.pk:
            return own
        found = Project.objects.filter(pk=project_id, organization=own.organization_id).first()
        if found is None or not reach_of_key(self.api_key).has(found.pk):
            raise NotFound("There is no project with this id.")
        return found

    def _sent(self, report: WasteReport, *, is_ready: bool) -> dict[str, Any]:
        told = summary_of([report])
        return WasteSerializer(
            {
                "object": "waste_report",
                "month": f"{report.month:%Y-%m}",
                "project": OwnerSerializer(report.project).data,
                "status": "ready" if is_ready else "preparing",
                "is_current": is_ready and is_current(report, database_now()),
                "reckoned_at": report.made_at,
                "calls": told.calls,
                "ledger_usd": told.ledger_usd,
                "wasted_usd": told.wasted_usd,
                "useful_usd": told.useful_usd,
                "corrections_usd": told.corrections_usd,
                "categories": [self._line(line, report) for line in told.lines],
                # As the report keeps them, amounts are texts.
                "switches": [{**switch, "usd": Decimal(switch["usd"])} for switch in report.switches],
            }
        ).data

    def _line(self, line: Line, report: WasteReport) -> dict[str, Any]:
        query = urlencode({"waste": line.category.value, "waste_month": f"{report.month:%Y-%m}"})
        is_own = report.project_id == self.api_key.project_id
        told = TOLD[line.category]
        return {
            "category": line.category.value,
            "usd": line.usd,
            "jobs": line.jobs,
            "is_upper_estimate": told.is_estimate,
            "reckoned": told.reckoned,
            "to_do": told.to_do,
            "jobs_url": self.request.build_absolute_uri(f"/api/v1/jobs?{query}") if is_own else None,
        }


def _this_month() -> date:
    return month_of(database_now()).start.date()
