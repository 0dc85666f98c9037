"""`GET /spend`: what was spent, when and on what, and how much of it was reasoning."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.contract import CostSerializer, ProjectView, UsdField, problems, read_query
from billing.clock import database_now
from billing.periods import month_of
from billing.reach import Reach, reach_of_key
from billing.spend import GROUPINGS, SpendLine, lines, rows_between, total, total_of

# Groupings whose values are rows with an id and a name; the others are their own names.
OWNERS = ("project", "team", "member", "key")


class PeriodQuery(serializers.Serializer):
    """The days that are asked for, and of whose spend. What a filter names and the key may not see is not there."""

    def get_fields(self) -> dict[str, serializers.Field]:
        # A method, because `from` is a word of Python and cannot be the name of an attribute.
        return {
            "from": serializers.DateField(required=False, help_text="First UTC day. Default: the first of this month."),
            "to": serializers.DateField(
                required=False, help_text="The UTC day after the last. Default: the end of this month."
            ),
            "project": _several(serializers.UUIDField(), "Only these projects, by id."),
            "team": _several(serializers.UUIDField(), "Only what projects spent while they belonged to these teams."),
            "member": _several(
                serializers.IntegerField(min_value=1, max_value=2**63 - 1), "Only these members, by id."
            ),
            "key": _several(serializers.UUIDField(), "Only these API keys, by id."),
            "model": _several(serializers.CharField(max_length=100), "Only these models."),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        month = month_of(database_now())
        start = attrs.get("from") or month.start.date()
        end = attrs.get("to") or month.end.date()
        if start >= end:
            message = f"The range from {start} to {end} has no day: `to` is exclusive and comes after `from`."
            raise serializers.ValidationError({"to": message})
        return {**attrs, "from": start, "to": end}


def _several(child: serializers.Field, help_text: str) -> serializers.ListField:
    return serializers.ListField(child=child, required=False, default=list, help_text=help_text)


class SpendQuery(PeriodQuery):
    def get_fields(self) -> dict[str, serializers.Field]:
        return {
            **super().get_fields(),
            "group_by": serializers.ListField(
                child=serializers.ChoiceField(choices=[(name, name) for name in GROUPINGS]),
                required=False,
                default=list,
                help_text="What to group by, separated by commas; nothing gives the total alone.",
            ),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        return {**attrs, "group_by": list(dict.fromkeys(attrs["group_by"]))}


class SpendFiguresSerializer(serializers.Serializer):
    calls = serializers.IntegerField()
    empty_calls = serializers.IntegerField(help_text="Calls that were paid for and gave no visible answer.")
    input_tokens = serializers.IntegerField()
    cached_input_tokens = serializers.IntegerField(help_text="Part of the input tokens.")
    output_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField(help_text="Part of the output tokens.")
    cache_write_tokens = serializers.IntegerField(
        help_text="Part of the input tokens: written to the provider's cache, at a price of its own from gpt-5.6 on."
    )
    reasoning_share = serializers.CharField(
        allow_null=True, help_text="Reasoning tokens as a part of the output tokens, 0 to 1 with four places."
    )
    cost = CostSerializer()
    empty_usd = UsdField(help_text="Part of the total that bought no visible answer.")


class OwnerSerializer(serializers.Serializer):
    id = serializers.CharField()
    name = serializers.CharField()


class SpendLineSerializer(SpendFiguresSerializer):
    """One group. It has a member for each grouping that was asked for; null where the spend has no such owner."""

    day = serializers.DateField(required=False)
    project = OwnerSerializer(required=False)
    team = OwnerSerializer(required=False, allow_null=True)
    member = OwnerSerializer(required=False, allow_null=True)
    key = OwnerSerializer(required=False, allow_null=True)
    model = serializers.CharField(required=False)
    service_tier = serializers.CharField(required=False)


class SpendSerializer(serializers.Serializer):
    def get_fields(self) -> dict[str, serializers.Field]:
        return {
            "from": serializers.DateField(),
            "to": serializers.DateField(help_text="Exclusive."),
            "group_by": serializers.ListField(child=serializers.CharField()),
            "total": SpendFiguresSerializer(),
            "data": SpendLineSerializer(many=True),
        }


def figures(line: SpendLine) -> dict[str, Any]:
    """The totals of a line as they go out."""
    tokens = {name: value for name, value in line.totals.items() if not name.endswith("_usd")}
    share = line.reasoning_share
    return {
        **tokens,
        "reasoning_share": None if share is None else f"{share:f}",
        "cost": CostSerializer(line.totals).data,
        "empty_usd": UsdField().to_representation(line.totals["empty_usd"]),
    }


def group(line: SpendLine) -> dict[str, Any]:
    """What a line is grouped by: owners with id and name, everything else as it is."""
    return {
        name: {"id": str(value), "name": line.labels[name]} if name in OWNERS and value is not None else value
        for name, value in line.group.items()
    }


_FIGURES = {
    "calls": 2,
    "empty_calls": 1,
    "input_tokens": 86,
    "cached_input_tokens": 0,
    "output_tokens": 1579,
    "reasoning_tokens": 1324,
    "cache_write_tokens": 0,
    "reasoning_share": "0.8385",
    "cost": {
        "input_usd": "0.00129",
        "cached_input_usd": "0.00",
        "output_usd": "0.0153",
        "reasoning_usd": "0.07944",
        "total_usd": "0.09603",
    },
    "empty_usd": "0.018645",
}
EXAMPLE = OpenApiExample(
    "By model",
    value={
        "from": "2024-09-01",
        "to": "2024-10-01",
        "group_by": ["model"],
        "total": _FIGURES,
        "data": [{"model": "o1-preview", **_FIGURES}],
    },
    response_only=True,
    status_codes=["200"],
)


class SpendView(ProjectView):
    @extend_schema(
        operation_id="getSpend",
        summary="What was spent",
        description="Settled calls by the UTC day of their dispatch: those of the key's project, and with a "
        "management key all that its maker may see of the organization. Days ascend; otherwise the dearest group comes "
        "first.",
        tags=["Spend and limits"],
        parameters=[SpendQuery],
        responses={200: SpendSerializer, **problems(400)},
        examples=[EXAMPLE],
    )
    def get(self, request: Request) -> Response:
        """The spend that the key may see between two days, in total and by group."""
        query = read_query(request, SpendQuery)
        reach = reach_of_key(self.api_key)
        rows = rows_between(
            query["from"],
            query["to"],
            query["group_by"],
            organization=reach.organization_id,
            **_filters(query, reach),
        )
        found = lines(rows, query["group_by"]) if query["group_by"] else []
        whole = total_of(found) if query["group_by"] else total(rows)
        return Response(
            {
                **{name: query[name] for name in ("from", "to", "group_by")},
                "total": figures(whole),
                "data": [{**group(line), **figures(line)} for line in found],
            }
        )


def _filters(query: dict[str, Any], reach: Reach) -> dict[str, Any]:
    """The filters as those of the columns of rollups. Of projects, only those within reach are left."""
    named = {f"{GROUPINGS[name]}__in": query[name] for name in ("team", "member", "key", "model") if query[name]}
    projects = within(query["project"], reach)
    if projects is None:
        return named
    # One by equality, which is what the narrowest index answers.
    of_projects = {"project": projects[0]} if len(projects) == 1 else {"project_id__in": projects}
    return {**named, **of_projects}


def within(projects: Sequence[UUID], reach: Reach) -> list[UUID] | None:
    """The projects that are asked for, as far as they are within reach; None: all of the organization."""
    if reach.projects is None:
        return list(projects) or None
    return [pk for pk in reach.projects if not projects or pk in projects]
