"""`POST /jobs/estimate`: what a job would cost, what would make it cheaper, and what stands in its way."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.contract import ProjectView, UsdField, problems
from billing.clock import database_now
from billing.money import usd
from jobs import catalogue
from jobs.api import examples
from jobs.api.advice import AdviceSerializer
from jobs.api.limits import BudgetSerializer
from jobs.api.submission import SubmissionDocumentation, read_submission
from jobs.preview import Expected, Preview, preview, recommended_cap


class EstimateBoundSerializer(serializers.Serializer):
    """The most that one call can take: what would be held for it."""

    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_usd = UsdField()


class WithinSerializer(serializers.Serializer):
    """What a share of the calls like it stayed within."""

    output_tokens = serializers.IntegerField(help_text="Reasoning included.")
    cost_usd = UsdField()


class ExpectedSerializer(serializers.Serializer):
    """A guess by earlier calls, and no promise."""

    calls = serializers.IntegerField(help_text="So many calls tell it.")
    level = serializers.CharField(help_text="How like this one they are: from `class` to `organization`.")
    p50 = WithinSerializer()
    p90 = WithinSerializer()
    p99 = WithinSerializer()
    empty_probability = serializers.CharField(help_text="That it is paid for and shows nothing at this cap: 0 to 1.")


class LimitSerializer(BudgetSerializer):
    """A limit, and what the call needs of it at most."""

    required = serializers.CharField()  # type: ignore[assignment]
    fits = serializers.BooleanField(help_text="Whether the call could start now, as far as this limit goes.")
    left = serializers.CharField(help_text="What would remain while the call is under way.")
    forecast = None  # type: ignore[assignment]  # of the limit as it stands, not of one call


class EstimateRefusalSerializer(serializers.Serializer):
    code = serializers.CharField(help_text="The code of the problem that a submission would be answered with.")
    detail = serializers.CharField()


class EstimateSerializer(serializers.Serializer):
    """What would become of a job. Nothing was made, and nothing is held."""

    object = serializers.ChoiceField(choices=["job.estimate"])
    model = serializers.CharField()
    prompt_tokens = serializers.IntegerField(help_text="As the provider counts them; the bound has a margin.")
    bound = EstimateBoundSerializer()
    expected = ExpectedSerializer(allow_null=True, help_text="null: too few calls like it have ended.")
    recommended_max_completion_tokens = serializers.IntegerField(
        allow_null=True,
        help_text="By earlier calls, else what the provider advises to begin with; null: the model does not reason.",
    )
    advice = AdviceSerializer(many=True)
    limits = LimitSerializer(many=True, help_text="Those that bind the call; first the one of which least is left.")
    refusal = EstimateRefusalSerializer(allow_null=True, help_text="Why it would be refused; null: it would be queued.")
    waits_for = serializers.DictField(
        allow_null=True,
        help_text="What the job would wait for besides a slot and its turn, as `waiting_on` of a job; null: nothing.",
    )


class EstimateView(ProjectView):
    @extend_schema(
        operation_id="estimateJob",
        summary="Estimate a job",
        description="Takes what submitting takes, and makes nothing. A prompt that no model would take is refused as a "
        "submission of it is; limits and whatever else stands in its way are told with the rest.",
        tags=["Jobs"],
        request=SubmissionDocumentation,
        responses={200: EstimateSerializer, **problems(400, 403, 404, 411, 413, 415)},
        examples=[examples.SUBMISSION, examples.ESTIMATE],
    )
    def post(self, request: Request) -> Response:
        """What the job of this body would come to."""
        wanted = read_submission(request.data)
        entry = catalogue.find(wanted.prompt.model)
        found = preview(self.api_key, wanted, database_now())
        is_reasoning = entry is not None and entry.model.is_reasoning
        return Response(_as_sent(wanted.prompt.model, found, recommended_cap(found, is_reasoning=is_reasoning)))


def _as_sent(model: str, found: Preview, cap: int | None) -> dict[str, Any]:
    return {
        "object": "job.estimate",
        "model": model,
        "prompt_tokens": found.counted_tokens,
        "bound": {
            "input_tokens": found.bound.input_tokens,
            "output_tokens": found.bound.output_tokens,
            "cost_usd": usd(found.bound.usd),
        },
        "expected": None if found.expected is None else _expected(found.expected),
        "recommended_max_completion_tokens": cap,
        "advice": [one.as_sent() for one in found.advice],
        "limits": [one.as_sent() for one in found.limits],
        "refusal": found.refusal and {"code": found.refusal.code, "detail": found.refusal.message},
        "waits_for": found.waits_for,
    }


def _expected(found: Expected) -> dict[str, Any]:
    within = {
        name: {"output_tokens": tokens, "cost_usd": usd(found.cost_usd[name])}
        for name, tokens in found.output_tokens.items()
    }
    probability = f"{found.empty_probability:.4f}"
    return {"calls": found.calls, "level": found.level, **within, "empty_probability": probability}
