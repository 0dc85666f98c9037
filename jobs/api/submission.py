"""The body of `POST /jobs`: Bursar's own fields are checked here, the provider's go on to `jobs.validation`."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from accounts.api.fields import AmountField, InstantField, TextField, WholeNumberField
from accounts.api.json_body import plain
from accounts.models import AdviceRule
from billing.models import ServiceTier
from jobs.submission import Submission
from jobs.validation import PromptRequest

PRIORITY_LIMIT = 100
METADATA_PAIRS, METADATA_KEY, METADATA_VALUE = 16, 64, 512
# A job of the tier `batch` comes through a batch: the provider takes those as files.
JOB_TIERS = [tier for tier in ServiceTier if tier is not ServiceTier.BATCH]


class MetadataField(serializers.DictField):
    """Up to 16 pairs of strings, as the provider takes them."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if not isinstance(data, dict):
            self.fail("not_a_dict", input_type=type(data).__name__)
        if len(data) > METADATA_PAIRS:
            raise ValidationError(f"At most {METADATA_PAIRS} pairs; these are {len(data)}.", code="max_length")
        wrong = {key: problem for key, value in data.items() if (problem := self._problem(key, value))}
        if wrong:
            raise ValidationError(wrong)
        return data

    def _problem(self, key: str, value: Any) -> list[ErrorDetail] | None:
        if not isinstance(value, str):
            return [ErrorDetail("The value is not a string.", code="invalid")]
        if len(key) > METADATA_KEY or len(value) > METADATA_VALUE:
            text = f"A key has at most {METADATA_KEY} characters and a value {METADATA_VALUE}."
            return [ErrorDetail(text, code="max_length")]
        return None


class ServiceTierField(serializers.ChoiceField):
    """One of the tiers that a single call can have."""

    default_error_messages = {"batch": "Jobs of the tier batch are sent to the batches endpoint, many in one file."}

    def __init__(self, **kwargs: Any):
        super().__init__(choices=[(tier.value, tier.label) for tier in JOB_TIERS], **kwargs)

    def to_internal_value(self, data: Any) -> ServiceTier:
        if data == ServiceTier.BATCH:
            self.fail("batch")
        return ServiceTier(super().to_internal_value(data))


class SubmissionSerializer(serializers.Serializer):
    """The fields of a submission that the provider has no part in. Null is the same as nothing."""

    model = TextField(help_text="A model of the catalogue, or one of its snapshots.")
    prompt = TextField(required=False, allow_null=True, help_text="Short for `messages` with one user message.")
    metadata = MetadataField(
        required=False,
        allow_null=True,
        child=serializers.CharField(max_length=METADATA_VALUE),
        help_text=f"Up to {METADATA_PAIRS} pairs of strings to find the job by.",
    )
    priority = WholeNumberField(
        required=False,
        allow_null=True,
        min_value=-PRIORITY_LIMIT,
        max_value=PRIORITY_LIMIT,
        help_text="Higher goes first within the project. Default 0.",
    )
    max_cost_usd = AmountField(
        required=False,
        allow_null=True,
        help_text="The job is refused if its call can cost more. A decimal string, or a number.",
    )
    deadline = InstantField(
        required=False,
        allow_null=True,
        help_text="The job fails if it has not started by then. ISO 8601 with an offset.",
    )
    service_tier = ServiceTierField(required=False, allow_null=True, help_text="Default `standard`.")
    ignore_advice = serializers.ListField(
        child=serializers.ChoiceField(choices=AdviceRule.choices),
        required=False,
        allow_null=True,
        help_text="Rules by which no advice is given on this prompt, and none refuses it.",
    )


@extend_schema_serializer(component_name="JobSubmission")
class SubmissionDocumentation(SubmissionSerializer):
    """A prompt for a model: exactly one of `prompt` and `messages`.

    Every other parameter of the provider's chat completions may stand beside these fields. What the model does not take
    is refused in the provider's own words.
    """

    messages = serializers.ListField(
        child=serializers.DictField(),
        required=False,
        allow_null=True,
        help_text="The conversation, as the provider takes it.",
    )
    max_completion_tokens = serializers.IntegerField(
        required=False,
        allow_null=True,
        help_text="Cap of reasoning and answer together. It bounds what the call can cost.",
    )
    reasoning_effort = serializers.CharField(required=False, allow_null=True, help_text="Where the model takes one.")


# One for all requests: to make a serializer copies every field of it, and to run one changes nothing in it.
_READER = SubmissionSerializer()
OWN_FIELDS = frozenset(_READER.fields)


def read_submission(body: Any) -> Submission:
    """The submission that a body asks for. Raises ValidationError with one entry for each field that is wrong.

    Messages and every field that is not Bursar's go on as they were sent, for `jobs.validation` to judge.
    """
    if not isinstance(body, dict):
        raise ValidationError("The body is a JSON object with at least model and prompt.")
    own = _READER.run_validation({name: value for name, value in body.items() if name in OWN_FIELDS})
    given = {name: value for name, value in own.items() if value is not None}
    provider_part = {name: plain(value) for name, value in body.items() if name not in OWN_FIELDS}
    messages = provider_part.pop("messages", None)
    if ("prompt" in given) == (messages is not None):
        raise ValidationError({"prompt": [ErrorDetail("Send exactly one of prompt and messages.", code="invalid")]})
    if "prompt" in given:
        messages = [{"role": "user", "content": given["prompt"]}]
    return Submission(
        prompt=PromptRequest(model=given["model"], messages=messages, parameters=provider_part),
        metadata=given.get("metadata", {}),
        priority=given.get("priority", 0),
        service_tier=given.get("service_tier", ServiceTier.STANDARD),
        max_cost_usd=given.get("max_cost_usd"),
        deadline=given.get("deadline"),
        wants_advice=True,
        ignored_advice=frozenset(map(AdviceRule, given.get("ignore_advice", ()))),
    )
