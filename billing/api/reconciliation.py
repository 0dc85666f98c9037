"""`GET /reconciliation`: the usage of the key's project against the provider's own bill."""

from datetime import date
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Project
from billing.api.contract import UsdField, problems, read_query
from billing.api.reconciliation_runs import ReconciliationAsking
from billing.clock import database_now
from billing.models import ReconciledDay, ReconciliationLine
from billing.models.reconciliations import DifferenceKind
from billing.periods import month_of
from billing.reconciliation.decisions import Standing, State, current_lines, standings

SIDES = ("ours", "theirs")
# A year and a day: lines are few, and nobody reads more of them at once.
MOST_DAYS = 366


class ReconciliationQuery(serializers.Serializer):
    def get_fields(self) -> dict[str, serializers.Field]:
        # A method, because `from` is a word of Python and cannot be the name of an attribute.
        return {
            "from": serializers.DateField(required=False, help_text="First UTC day. Default: the first of this month."),
            "to": serializers.DateField(
                required=False, help_text="The UTC day after the last. Default: the end of this month."
            ),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        month = month_of(database_now())
        start = attrs.get("from") or month.start.date()
        end = attrs.get("to") or month.end.date()
        if not 0 < (end - start).days <= MOST_DAYS:
            message = (
                f"From {start} to {end}: `to` is exclusive, comes after `from`, and at most {MOST_DAYS} days later."
            )
            raise serializers.ValidationError({"to": message})
        return {"from": start, "to": end}


class BilledSerializer(serializers.Serializer):
    """What one side says."""

    requests = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    cached_input_tokens = serializers.IntegerField(help_text="Part of the input tokens.")
    output_tokens = serializers.IntegerField(
        help_text="Reasoning tokens included: the provider does not tell them apart."
    )
    usd = UsdField()


class ReconciliationLineSerializer(serializers.Serializer):
    """A part of a day's bill. Lines of a day, project and model add up to what each side has of it."""

    day = serializers.DateField()
    model = serializers.CharField(help_text="The snapshot that the provider bills, or what else it bills.")
    provider_project = serializers.CharField(allow_blank=True, help_text="Empty: calls that name none.")
    kind = serializers.ChoiceField(choices=DifferenceKind.choices)
    state = serializers.ChoiceField(
        choices=State.choices, help_text="`open`: nobody has decided yet. `waiting`: looked at again by itself."
    )
    ours = BilledSerializer()
    theirs = BilledSerializer()
    difference_usd = UsdField(help_text="Theirs less ours.")
    undecided_usd = UsdField(help_text="The part of the difference that nobody has decided about.")
    detail = serializers.CharField()


class ReconciledTotalSerializer(serializers.Serializer):
    ours_usd = UsdField()
    theirs_usd = UsdField()
    difference_usd = UsdField(help_text="The sum of the lines' differences, to the last digit.")
    undecided_usd = UsdField()


class ReconciledDaySerializer(serializers.Serializer):
    day = serializers.DateField()
    is_settled = serializers.BooleanField(help_text="The provider's bill of the day is taken for complete.")
    looked_at = serializers.DateTimeField()


class ReconciliationSerializer(serializers.Serializer):
    def get_fields(self) -> dict[str, serializers.Field]:
        return {
            "from": serializers.DateField(),
            "to": serializers.DateField(help_text="Exclusive."),
            "total": ReconciledTotalSerializer(),
            "days": ReconciledDaySerializer(many=True),
            "data": ReconciliationLineSerializer(many=True),
        }


_EXAMPLE_SIDE = {"requests": 2, "input_tokens": 86, "cached_input_tokens": 0, "output_tokens": 1579, "usd": "0.09603"}
EXAMPLE = OpenApiExample(
    "A call that did not go through Bursar",
    value={
        "from": "2026-11-01",
        "to": "2026-12-01",
        "total": {
            "ours_usd": "0.00",
            "theirs_usd": "0.09603",
            "difference_usd": "0.09603",
            "undecided_usd": "0.09603",
        },
        "days": [{"day": "2026-11-20", "is_settled": True, "looked_at": "2026-11-23T05:23:00Z"}],
        "data": [
            {
                "day": "2026-11-20",
                "model": "o1-preview-2024-09-12",
                "provider_project": "proj_abc",
                "kind": "missing_here",
                "state": "open",
                "ours": {**dict.fromkeys(_EXAMPLE_SIDE, 0), "usd": "0.00"},
                "theirs": _EXAMPLE_SIDE,
                "difference_usd": "0.09603",
                "undecided_usd": "0.09603",
                "detail": "Not through Bursar: the provider billed it, and no usage record has it.",
            }
        ],
    },
    response_only=True,
    status_codes=["200"],
)


class ReconciliationView(ReconciliationAsking):
    plain_key_methods = frozenset({"GET"})

    @extend_schema(
        operation_id="getReconciliation",
        summary="What the provider billed, against what the project spent",
        description="The latest comparison of each day, made daily and again until the provider's bill is complete. "
        "Projects that share a project of the provider are compared together, and such lines show in the admin alone.",
        tags=["Spend and limits"],
        parameters=[ReconciliationQuery],
        responses={200: ReconciliationSerializer, **problems(400)},
        examples=[EXAMPLE],
    )
    def get(self, request: Request) -> Response:
        """The lines that are the key's project's alone, between two days."""
        query = read_query(request, ReconciliationQuery)
        lines = _lines_of(self.api_key.project, query["from"], query["to"])
        found = standings(lines)
        return Response(
            {
                **query,
                "total": ReconciledTotalSerializer(_total(lines, found)).data,
                "days": ReconciledDaySerializer(_days_of(lines), many=True).data,
                "data": [_line(line, found[line.pk]) for line in lines],
            }
        )


def _lines_of(project: Project, start: date, end: date) -> list[ReconciliationLine]:
    return list(current_lines().filter(project=project, day__gte=start, day__lt=end))


def _days_of(lines: list[ReconciliationLine]) -> list[ReconciledDay]:
    """The views that these lines are of, by day."""
    runs = {line.run_id for line in lines}
    return list(ReconciledDay.objects.filter(run__in=runs, day__in={line.day for line in lines}).order_by("day"))


def _line(line: ReconciliationLine, standing: Standing) -> dict[str, Any]:
    names = ("requests", "input_tokens", "cached_input_tokens", "output_tokens", "usd")
    sides = {side: {name: getattr(line, f"{side}_{name}") for name in names} for side in SIDES}
    whole = {
        "day": line.day,
        "model": line.model,
        "provider_project": line.provider_project,
        "kind": line.kind,
        "state": standing.state,
        **sides,
        "difference_usd": line.difference_usd,
        "undecided_usd": standing.undecided_usd,
        "detail": line.detail,
    }
    return dict(ReconciliationLineSerializer(whole).data)


def _total(lines: list[ReconciliationLine], found: dict[Any, Standing]) -> dict[str, Decimal]:
    sums = {
        name: sum((getattr(line, name) for line in lines), Decimal(0))
        for name in ("ours_usd", "theirs_usd", "difference_usd")
    }
    return {**sums, "undecided_usd": sum((standing.undecided_usd for standing in found.values()), Decimal(0))}
