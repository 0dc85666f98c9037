"""`GET /expectations`: what calls of each kind needed, and so what the next one will probably need."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.contract import ProjectView, UsdField, problems, read_query
from billing.api.spend import OwnerSerializer
from billing.clock import database_now
from billing.reach import reach_of_key
from jobs.learning.figures import RISK, Figures, distributions, figures_of
from jobs.learning.levels import LEVELS

# Rows that are shown, those of most calls first; nobody reads more of them at once.
MOST = 200
PLACES = 4


class ExpectationsQuery(serializers.Serializer):
    model = serializers.CharField(max_length=100, required=False, help_text="Only calls that asked for this name.")
    reasoning_effort = serializers.CharField(
        max_length=40, required=False, allow_blank=True, help_text="Only calls with this effort; empty: with none."
    )
    risk = serializers.DecimalField(
        max_digits=5,
        decimal_places=PLACES,
        min_value=Decimal("0.001"),
        max_value=Decimal("0.5"),
        default=RISK,
        help_text="The share of calls that may need more than the recommended cap, 0.001 to 0.5.",
    )
    cap = serializers.IntegerField(
        min_value=1, max_value=10_000_000, required=False, help_text="A cap, to be told what it would do."
    )


class NeedQuantilesSerializer(serializers.Serializer):
    """Tokens that a share of calls stayed within, or would have without a cap; null where too few calls say so."""

    mean = serializers.CharField()
    p50 = serializers.IntegerField(allow_null=True)
    p90 = serializers.IntegerField(allow_null=True)
    p99 = serializers.IntegerField(allow_null=True)


class NeedsSerializer(serializers.Serializer):
    completion = NeedQuantilesSerializer(help_text="Reasoning included, as the provider counts.")
    reasoning = NeedQuantilesSerializer()
    visible = NeedQuantilesSerializer()


class RecommendationSerializer(serializers.Serializer):
    risk = serializers.CharField()
    cap = serializers.IntegerField(allow_null=True, help_text="Null: no cap is known that keeps the risk; send none.")


class CapSerializer(serializers.Serializer):
    cap = serializers.IntegerField()
    cut_probability = serializers.CharField(help_text="That a call needs more; 0 to 1.")
    empty_probability = serializers.CharField(
        help_text="That reasoning takes all of it: paid for, and nothing to be seen."
    )


class ExpectationSerializer(serializers.Serializer):
    """What is known of one kind of call."""

    level = serializers.ChoiceField(choices=[(level, level) for level in LEVELS], help_text="What it is known of.")
    project = OwnerSerializer(allow_null=True, help_text="Null: all projects of the organization.")
    model = serializers.CharField()
    reasoning_effort = serializers.CharField(allow_null=True, help_text="As asked; null where none was.")
    prompt_class = serializers.CharField(allow_null=True, help_text="Kind of work and size; null: all of them.")
    calls = serializers.IntegerField(help_text="That were learnt of; the latest count most.")
    cut_calls = serializers.IntegerField(help_text="Of these, stopped at their cap or by a filter.")
    empty_calls = serializers.IntegerField()
    learnt_at = serializers.DateTimeField(help_text="When the latest of them had ended.")
    tokens = NeedsSerializer()
    mean_cost_usd = UsdField(allow_null=True, help_text="At today's standard price; null where there is none.")
    recommended = RecommendationSerializer()
    at_cap = CapSerializer(allow_null=True, help_text="Of the cap that was asked about.")


class ExpectationsSerializer(serializers.Serializer):
    data: Any = ExpectationSerializer(many=True)  # the base class has a property of this name
    has_more = serializers.BooleanField(help_text="There are rows of fewer calls; narrow by model and effort.")


EXAMPLE = OpenApiExample(
    "What o1-mini needed for pieces of code",
    value={
        "data": [
            {
                "level": "class",
                "project": {"id": "0192a3c4-0000-7000-8000-000000000001", "name": "Research"},
                "model": "o1-mini",
                "reasoning_effort": None,
                "prompt_class": "code-s",
                "calls": 812,
                "cut_calls": 31,
                "empty_calls": 22,
                "learnt_at": "2026-11-23T17:05:00Z",
                "tokens": {
                    "completion": {"mean": "1743.2", "p50": 1502, "p90": 3083, "p99": 5944},
                    "reasoning": {"mean": "1406.9", "p50": 1146, "p90": 2721, "p99": 5580},
                    "visible": {"mean": "336.3", "p50": 301, "p90": 570, "p99": 921},
                },
                "mean_cost_usd": "0.021048",
                "recommended": {"risk": "0.01", "cap": 6432},
                "at_cap": {"cap": 2000, "cut_probability": "0.2871", "empty_probability": "0.1955"},
            }
        ],
        "has_more": False,
    },
    response_only=True,
    status_codes=["200"],
)


class ExpectationsView(ProjectView):
    @extend_schema(
        operation_id="getExpectations",
        summary="What calls of each kind needed",
        description="Distributions of tokens, learnt from answered jobs by project, model, effort and class of prompt: "
        "the key's project, and with a management key all that its maker may see. Answers that were cut off count as "
        "needing more than they got. A guess, never a promise: holds are made by bounds alone.",
        tags=["Spend and limits"],
        parameters=[ExpectationsQuery],
        responses={200: ExpectationsSerializer, **problems(400)},
        examples=[EXAMPLE],
    )
    def get(self, request: Request) -> Response:
        """The kinds of calls within reach, those of most calls first."""
        query = read_query(request, ExpectationsQuery)
        rows = distributions(reach_of_key(self.api_key), model=query.get("model"), effort=query.get("reasoning_effort"))
        found = list(rows[: MOST + 1])
        day = self.api_key.project.organization.terms_date(database_now())
        shown = figures_of(found[:MOST], day)
        return Response(
            {
                "data": [_told(one, query["risk"], query.get("cap")) for one in shown],
                "has_more": len(found) > MOST,
            }
        )


def _told(one: Figures, risk: Decimal, cap: int | None) -> dict[str, Any]:
    row, means = one.row, one.means
    return {
        "level": one.learnt.level,
        "project": {"id": str(row.project_id), "name": row.project.name} if row.project else None,
        "model": row.model,
        "reasoning_effort": row.reasoning_effort or None,
        "prompt_class": row.prompt_class or None,
        "calls": row.calls,
        "cut_calls": row.cut_calls,
        "empty_calls": row.empty_calls,
        "learnt_at": serializers.DateTimeField().to_representation(row.learnt_at),
        "tokens": {name: {"mean": f"{means[name]:.1f}", **one.quantiles(curve)} for name, curve in one.curves.items()},
        "mean_cost_usd": None if one.mean_cost_usd is None else UsdField().to_representation(one.mean_cost_usd),
        "recommended": {"risk": f"{risk.normalize():f}", "cap": one.recommended_cap(risk)},
        "at_cap": None if cap is None else _at(one, cap),
    }


def _at(one: Figures, cap: int) -> dict[str, Any]:
    return {
        "cap": cap,
        "cut_probability": f"{one.expectation.over(cap):.{PLACES}f}",
        "empty_probability": f"{one.expectation.empty_probability(cap):.{PLACES}f}",
    }
