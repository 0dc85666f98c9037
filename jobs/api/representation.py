"""A job and an attempt as they go out."""

from decimal import Decimal
from typing import Any, Literal

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing.api.contract import CostSerializer, UsdField
from billing.models import ServiceTier
from billing.money import usd
from billing.settlements import is_another_model
from jobs.api.attempts import DoubtSerializer, latest_doubt
from jobs.models import Job, JobContent
from jobs.responses import tokens_of
from jobs.states import JobStatus
from jobs.waiting import waiting_in_figures, waiting_on

# What OpenAI advises to leave for reasoning and answer together to begin with (reasoning guide, 2024-09).
ADVISED_CAP = 25_000
# The provider's finish reasons that leave an answer incomplete, in the words of its later API.
INCOMPLETE_REASONS = {"length": "max_completion_tokens", "content_filter": "content_filter"}

_USAGE = {
    "type": ["object", "null"],
    "description": "Tokens in the provider's own shape: that of chat completions, or of responses (`input_tokens`, "
    "`output_tokens`) where the call was made in the background.",
    "properties": {
        "prompt_tokens": {"type": "integer"},
        "completion_tokens": {"type": "integer"},
        "total_tokens": {"type": "integer"},
        "prompt_tokens_details": {"type": "object"},
        "completion_tokens_details": {"type": "object"},
    },
}


class BoundSerializer(serializers.Serializer):
    """The most that one call of the job can take, computed before it."""

    input_tokens = serializers.IntegerField(source="bound_input_tokens")
    output_tokens = serializers.IntegerField(source="bound_output_tokens")
    cost_usd = UsdField(source="bound_usd")


class ExpectationOfJobSerializer(serializers.Serializer):
    """What calls like it had come to when it was submitted: a guess. Tokens of the output, reasoning included."""

    p50_output_tokens = serializers.IntegerField(allow_null=True, source="expected_p50_tokens")
    p90_output_tokens = serializers.IntegerField(allow_null=True, source="expected_p90_tokens")
    p99_output_tokens = serializers.IntegerField(allow_null=True, source="expected_p99_tokens")
    cost_usd = UsdField(source="expected_usd", help_text="On average.")
    empty_probability = serializers.CharField(
        source="expected_empty", help_text="That it is paid for and shows nothing at its cap: 0 to 1."
    )


class WarningSerializer(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()


class JobSerializer(serializers.Serializer):
    """One request for one answer, and what it cost."""

    id = serializers.UUIDField()
    object = serializers.SerializerMethodField()
    status = serializers.ChoiceField(choices=JobStatus.choices)
    model = serializers.CharField(help_text="As asked: an alias or a snapshot.")
    snapshot = serializers.SerializerMethodField(help_text="The dated model that answered.")
    service_tier = serializers.ChoiceField(choices=ServiceTier.choices)
    priority = serializers.IntegerField()
    metadata = serializers.DictField(child=serializers.CharField())
    waiting_on = serializers.SerializerMethodField(
        help_text="What a queued job waits for. `reason` is `capacity`, `rate_limit`, `budget`, `retry`, "
        "`project_paused`, `limiter_unavailable`, `provider_unavailable`, `provider_access` or `provider_quota`; the "
        "rest are its figures. Looking at one job adds `jobs_ahead` in "
        "its queue (counted to 10,000, then `more_ahead`) and `expected_start`, an instant or null."
    )
    bound = BoundSerializer(source="*")
    expected = serializers.SerializerMethodField(help_text="null: too few calls like it had ended.")
    max_cost_usd = UsdField(allow_null=True)
    deadline = serializers.DateTimeField(allow_null=True)
    usage = serializers.SerializerMethodField()
    cost = serializers.SerializerMethodField()
    reasoning_share = serializers.SerializerMethodField(
        help_text="Reasoning tokens as a part of the output tokens, 0 to 1 with four places."
    )
    output_text = serializers.SerializerMethodField()
    message = serializers.SerializerMethodField(help_text="The provider's answer message, whole.")
    finish_reason = serializers.SerializerMethodField()
    incomplete_reason = serializers.SerializerMethodField()
    warnings = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField(help_text="Why it failed: status, code, type, param and message.")
    doubt = serializers.SerializerMethodField(
        help_text="Where a call's outcome was not known: what was done about it. Shown when looking at one job."
    )
    attempts = serializers.IntegerField(
        source="attempt_count", help_text="Calls of the provider that were begun for it."
    )
    queued_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    cancel_asked_at = serializers.DateTimeField(
        allow_null=True, help_text="When it was to be cancelled while the provider worked on it."
    )
    finished_at = serializers.DateTimeField(allow_null=True)
    content_erased_at = serializers.DateTimeField(
        allow_null=True, help_text="Since then prompt and answer are gone; what the job cost stays."
    )

    def get_object(self, job: Job) -> Literal["job"]:
        return "job"

    def get_snapshot(self, job: Job) -> str | None:
        return job.snapshot or None

    def get_waiting_on(self, job: Job) -> dict[str, Any] | None:
        now = self.context.get("figures_at")
        return waiting_in_figures(job, now) if now else waiting_on(job)

    @extend_schema_field(ExpectationOfJobSerializer(allow_null=True))
    def get_expected(self, job: Job) -> dict[str, Any] | None:
        return None if job.expected_usd is None else _EXPECTED.to_representation(job)

    @extend_schema_field(_USAGE)
    def get_usage(self, job: Job) -> dict[str, Any] | None:
        return job.usage

    @extend_schema_field(CostSerializer(allow_null=True))
    def get_cost(self, job: Job) -> dict[str, Any] | None:
        return None if job.total_usd is None else _COST.to_representation(job)

    def get_reasoning_share(self, job: Job) -> str | None:
        counted = tokens_of(job.usage)
        output, reasoning = counted["output"], counted["reasoning"]
        return f"{(Decimal(reasoning) / output).quantize(Decimal('0.0001')):f}" if output else None

    def get_output_text(self, job: Job) -> str | None:
        return (self.get_message(job) or {}).get("content")

    def get_message(self, job: Job) -> dict[str, Any] | None:
        try:
            return job.content.message
        except JobContent.DoesNotExist:  # erased; the books stay
            return None

    def get_finish_reason(self, job: Job) -> str | None:
        return job.finish_reason or None

    @extend_schema_field({"type": ["string", "null"], "enum": [*INCOMPLETE_REASONS.values(), None]})
    def get_incomplete_reason(self, job: Job) -> str | None:
        return INCOMPLETE_REASONS.get(job.finish_reason)

    @extend_schema_field(WarningSerializer(many=True))
    def get_warnings(self, job: Job) -> list[dict[str, str]]:
        if job.status == JobStatus.IN_DOUBT and job.snapshot:
            message = "The answer came, and what the provider says of its tokens cannot be true: its cost is not known."
            return [{"code": "cost_in_doubt", "message": message}]
        return [*_other_model(job), *_paid_and_empty(job)]

    @extend_schema_field(DoubtSerializer(allow_null=True))
    def get_doubt(self, job: Job) -> dict[str, Any] | None:
        return latest_doubt(job) if self.context.get("figures_at") and job.attempt_count else None

    @extend_schema_field({"type": ["object", "null"], "additionalProperties": {}})
    def get_error(self, job: Job) -> dict[str, Any] | None:
        return job.error


def _other_model(job: Job) -> list[dict[str, str]]:
    if not job.snapshot or not is_another_model(job.model, job.snapshot):
        return []
    message = f"The provider says that {job.snapshot} answered. The cost is at its price, where that is known."
    return [{"code": "other_model_answered", "message": message}]


def _paid_and_empty(job: Job) -> list[dict[str, str]]:
    if not job.is_empty or job.total_usd is None:
        return []
    message = f"This call cost {usd(job.total_usd)} USD and gave no visible answer."
    if job.finish_reason == "length":
        message += (
            f" Reasoning used up its cap of {job.bound_output_tokens} tokens: ask again with a larger "
            f"max_completion_tokens; OpenAI advises at least {ADVISED_CAP:,} to begin with."
        )
    return [{"code": "empty_answer_paid", "message": message}]


# One for all requests: to make a serializer copies every field of it, and to run one changes nothing in it.
_JOB, _COST, _EXPECTED = JobSerializer(), CostSerializer(), ExpectationOfJobSerializer()


def job_as_sent(job: Job) -> dict[str, Any]:
    """What goes out for a job, ready for the JSON encoder."""
    return _JOB.to_representation(job)
