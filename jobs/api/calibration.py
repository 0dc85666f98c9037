"""`GET /expectations/calibration`: what was expected of jobs at their submission, against what they came to."""

from datetime import date
from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit
from billing.api.contract import ProjectView, UsdField, problems, read_query
from billing.api.export import FormatIsOurs
from billing.api.spend import OwnerSerializer
from billing.clock import database_now
from billing.csv_files import attached
from billing.periods import month_of
from billing.reach import reach_of_key
from jobs.learning.calibration import SHARES, Line, as_csv, note_export, report, total

MONTHS = 12


class CalibrationQuery(serializers.Serializer):
    def get_fields(self) -> dict[str, serializers.Field]:
        # A method, because `from` is a word of Python and cannot be the name of an attribute.
        return {
            "from": serializers.DateField(required=False, help_text="A day of the first month, UTC. Default: a year."),
            "to": serializers.DateField(
                required=False, help_text="The UTC day after the last month. Default: the end of this month."
            ),
            "model": serializers.CharField(max_length=100, required=False, default=""),
            "format": serializers.ChoiceField(choices=[("json", "json"), ("csv", "csv")], default="json"),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        month = month_of(database_now())
        first = month.start.date()
        end = attrs.get("to") or month.end.date()
        start = attrs.get("from") or _months_before(first, MONTHS - 1)
        if start >= end:
            message = f"The range from {start} to {end} has no day: `to` is exclusive and comes after `from`."
            raise serializers.ValidationError({"to": message})
        return {**attrs, "from": start, "to": end}


def _months_before(first: date, months: int) -> date:
    year, month = divmod(first.year * 12 + first.month - 1 - months, 12)
    return date(year, month + 1, 1)


class CoverageSerializer(serializers.Serializer):
    """`coverage`: the part of the judged jobs that stayed within; null where none was judged."""

    judged = serializers.IntegerField(help_text="Jobs whose cap is not below what was expected.")
    within = serializers.IntegerField()
    coverage = serializers.CharField(allow_null=True)


class CalibrationFiguresSerializer(serializers.Serializer):
    jobs = serializers.IntegerField(help_text="That ended, and of which something was expected.")
    p50 = CoverageSerializer()
    p90 = CoverageSerializer()
    p99 = CoverageSerializer()
    expected_usd = UsdField()
    actual_usd = UsdField()
    expected_empty = serializers.CharField(help_text="Jobs: the sum of the probabilities that were stated.")
    actual_empty = serializers.IntegerField(help_text="Jobs whose reasoning took all of the cap.")


class CalibrationLineSerializer(CalibrationFiguresSerializer):
    month = serializers.CharField(help_text="As 2026-11, UTC: in which the jobs ended.")
    project = OwnerSerializer()
    model = serializers.CharField()


class CalibrationSerializer(serializers.Serializer):
    def get_fields(self) -> dict[str, serializers.Field]:
        return {
            "from": serializers.DateField(),
            "to": serializers.DateField(help_text="Exclusive."),
            "total": CalibrationFiguresSerializer(),
            "data": CalibrationLineSerializer(many=True),
        }


_FIGURES = {
    "jobs": 1840,
    "p50": {"judged": 1840, "within": 931, "coverage": "0.5060"},
    "p90": {"judged": 1795, "within": 1618, "coverage": "0.9014"},
    "p99": {"judged": 1702, "within": 1689, "coverage": "0.9924"},
    "expected_usd": "38.912",
    "actual_usd": "39.2267",
    "expected_empty": "14.2",
    "actual_empty": 12,
}
EXAMPLE = OpenApiExample(
    "A month",
    value={
        "from": "2026-11-01",
        "to": "2026-12-01",
        "total": _FIGURES,
        "data": [
            {
                "month": "2026-11",
                "project": {"id": "0192a3c4-0000-7000-8000-000000000001", "name": "Research"},
                "model": "o1-mini",
                **_FIGURES,
            }
        ],
    },
    response_only=True,
    status_codes=["200"],
)


class CalibrationView(ProjectView):
    content_negotiation_class = FormatIsOurs

    @extend_schema(
        operation_id="getCalibration",
        summary="What was expected of jobs, against what they came to",
        description="By month, project and model. Of a well calibrated month nine in ten jobs stay within their p90, "
        "and expected and actual dollars and empty answers are alike.",
        tags=["Spend and limits"],
        parameters=[CalibrationQuery],
        responses={
            (200, "application/json"): CalibrationSerializer,
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "CSV"),
            **problems(400),
        },
        examples=[EXAMPLE],
    )
    def get(self, request: Request) -> Response | HttpResponse:
        """The report of what the key may see."""
        query = read_query(request, CalibrationQuery)
        reach = reach_of_key(self.api_key)
        lines = report(reach, query["from"], query["to"], query["model"])
        if query["format"] == "csv":
            note_export(reach.organization_id, query["from"], query["to"], audit.who(request))
            name = f"calibration-{query['from']}-{query['to']}.csv"
            return attached(as_csv(lines), name, **{"Cache-Control": "no-store"})
        told = {"from": query["from"], "to": query["to"], "total": _figures(total(lines))}
        return Response({**told, "data": [_line(line) for line in lines]})


def _figures(line: Line) -> dict[str, Any]:
    coverage = line.coverage
    return {
        "jobs": line.jobs,
        **{
            share: {
                "judged": line.judged[place],
                "within": line.within[place],
                "coverage": None if coverage[share] is None else f"{coverage[share]:f}",
            }
            for place, share in enumerate(SHARES)
        },
        "expected_usd": UsdField().to_representation(line.expected_usd),
        "actual_usd": UsdField().to_representation(line.actual_usd),
        "expected_empty": f"{line.expected_empty:.1f}",
        "actual_empty": line.actual_empty,
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "month": f"{line.month:%Y-%m}",
        "project": {"id": str(line.project_id), "name": line.project},
        "model": line.model,
        **_figures(line),
    }
