"""The body of `POST /comparisons`: read whole before anything of it is checked against the catalogue."""

from collections.abc import Mapping, Sequence
from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from accounts.api.fields import AmountField, TextField, WholeNumberField
from accounts.api.json_body import plain
from accounts.api.management import Body, invalid
from billing.models import ServiceTier
from jobs.api.submission import ServiceTierField
from jobs.comparisons.requests import (
    MOST_PROMPTS,
    MOST_RUNS,
    MOST_TIMES,
    MOST_VARIANTS,
    Prompt,
    Variant,
    Wanted,
    named,
)

MOST_NAME = 100
# What is the comparison's own to say, and not a variant's.
NOT_OF_VARIANTS = frozenset({"prompt", "messages", "metadata", "priority", "deadline", "max_cost_usd", "stream"})


@extend_schema_field({"type": ["string", "integer"], "description": "The name of a variant, or its number from 1."})
class BaselineField(serializers.Field):
    """Which variant the others are compared with."""

    def to_internal_value(self, data: Any) -> str | int:
        if isinstance(data, bool) or not isinstance(data, (str, int)):
            raise ValidationError("The name of a variant, or its number from 1.", code="invalid")
        return data


@extend_schema_field({"type": "array", "items": {"type": ["string", "object"]}})
class ListOfAnythingField(serializers.Field):
    """A list, whose elements are looked at apart."""

    def __init__(self, *, most: int, **kwargs: Any):
        super().__init__(**kwargs)
        self._most = most

    def to_internal_value(self, data: Any) -> list[Any]:
        if not isinstance(data, list):
            raise ValidationError("This is a list.", code="not_a_list")
        if not 1 <= len(data) <= self._most:
            raise ValidationError(f"1 to {self._most} of them; these are {len(data)}.", code="length")
        return data


class ComparisonBody(Body):
    """What a comparison says of itself. Null is the same as nothing."""

    name = TextField(required=False, allow_null=True, max_length=200, help_text="To find it by.")
    prompt = TextField(required=False, allow_null=True, help_text="One prompt: short for `prompts` with one text.")
    messages = serializers.JSONField(required=False, allow_null=True, help_text="One prompt as a conversation.")
    prompts = ListOfAnythingField(
        most=MOST_PROMPTS,
        required=False,
        allow_null=True,
        help_text=f"1 to {MOST_PROMPTS}, each a text or `{{name?, prompt | messages}}`.",
    )
    variants = ListOfAnythingField(
        most=MOST_VARIANTS,
        help_text=f"1 to {MOST_VARIANTS}: `{{model, name?, wording?, service_tier?}}` and, beside these, any parameter "
        "of the provider's chat completions. `wording` is added to the last message of the user.",
    )
    times = WholeNumberField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=MOST_TIMES,
        help_text=f"How often each prompt is run on each variant: 1 to {MOST_TIMES}. Default 1. All together are at "
        f"most {MOST_RUNS:,} calls.",
    )
    max_cost_usd = AmountField(
        help_text="All calls together never come to more: a call is made only while what it can cost at most fits "
        "beside what the others have cost and may still cost. A decimal string, or a number."
    )
    baseline = BaselineField(required=False, allow_null=True, help_text="Savings are against it. Default: the first.")


class VariantBody(serializers.Serializer):
    """The members of a variant that the provider has no part in."""

    name = TextField(required=False, allow_null=True, max_length=MOST_NAME)
    model = TextField()
    wording = TextField(required=False, allow_null=True)
    service_tier = ServiceTierField(required=False, allow_null=True)


class PromptBody(Body):
    """A prompt with a name, or as a conversation."""

    name = TextField(required=False, allow_null=True, max_length=MOST_NAME)
    prompt = TextField(required=False, allow_null=True)
    messages = serializers.JSONField(required=False, allow_null=True)


@extend_schema_serializer(component_name="ComparisonSubmission")
class ComparisonDocumentation(ComparisonBody):
    """One prompt, or a set, on several variants: exactly one of `prompt`, `messages` and `prompts`."""


_BODY, _VARIANT, _PROMPT = ComparisonBody(), VariantBody(), PromptBody()


def read_comparison(body: Any) -> Wanted:
    """The comparison that a body asks for. Raises ValidationError with one entry for each member that is wrong.

    Messages and parameters go on as they were sent, for `jobs.validation` to judge.
    """
    if not isinstance(body, dict):
        raise ValidationError("The body is a JSON object with a prompt, variants and max_cost_usd.")
    given = {name: value for name, value in _BODY.run_validation(body).items() if value is not None}
    prompts, variants = _prompts(given), _variants(given["variants"])
    wanted = Wanted(
        prompts=prompts,
        variants=variants,
        times=given.get("times", 1),
        max_cost_usd=given["max_cost_usd"],
        baseline=_baseline(given.get("baseline", 1), variants),
        name=given.get("name", ""),
    )
    if wanted.runs > MOST_RUNS:
        raise invalid(
            "times",
            f"{len(prompts)} prompts on {len(variants)} variants, {wanted.times} times each, are {wanted.runs:,} calls;"
            f" at most {MOST_RUNS:,}.",
            "too_many_calls",
        )
    return wanted


def _prompts(given: Mapping[str, Any]) -> list[Prompt]:
    ways = [name for name in ("prompt", "messages", "prompts") if name in given]
    if len(ways) != 1:
        raise invalid("prompts", "Send exactly one of prompt, messages and prompts.")
    if "prompt" in given:
        return [Prompt("Prompt 1", _said(given["prompt"]), "prompt")]
    if "messages" in given:
        return [Prompt("Prompt 1", plain(given["messages"]), "messages")]
    found, wrong = [], {}
    for place, value in enumerate(given["prompts"]):
        try:
            found.append(_prompt(value, place))
        except ValidationError as error:
            wrong[str(place)] = error.detail
    if wrong:
        raise ValidationError({"prompts": wrong})
    return found


def _prompt(value: Any, place: int) -> Prompt:
    name = f"Prompt {place + 1}"
    if not isinstance(value, dict):
        return Prompt(name, _said(TextField().run_validation(value)), f"prompts[{place}]")
    given = {key: part for key, part in _PROMPT.run_validation(value).items() if part is not None}
    if ("prompt" in given) == ("messages" in given):
        raise ValidationError({"messages": [ErrorDetail("Send exactly one of prompt and messages.", code="invalid")]})
    name = given.get("name", name)
    if "prompt" in given:
        return Prompt(name, _said(given["prompt"]), f"prompts[{place}]")
    return Prompt(name, plain(given["messages"]), f"prompts[{place}].messages")


def _said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _variants(values: Sequence[Any]) -> list[Variant]:
    found, wrong, names = [], {}, set()
    for place, value in enumerate(values):
        try:
            variant = _variant(value)
            if variant.name in names:
                raise invalid("name", "Another variant has this name.", "not_unique")
        except ValidationError as error:
            wrong[str(place)] = error.detail
            continue
        if variant.name:
            names.add(variant.name)
        found.append(variant)
    if wrong:
        raise ValidationError({"variants": wrong})
    return named(found)


def _variant(value: Any) -> Variant:
    if not isinstance(value, dict):
        raise ValidationError("A variant is an object with a model.", code="invalid")
    foreign = sorted(NOT_OF_VARIANTS & value.keys())
    if foreign:
        message = "A variant does not have this: all of them are asked the same, under the comparison's own terms."
        raise ValidationError({name: [ErrorDetail(message, code="unknown_parameter")] for name in foreign})
    own = _VARIANT.run_validation({name: part for name, part in value.items() if name in _VARIANT.fields})
    given = {name: part for name, part in own.items() if part is not None}
    return Variant(
        name=given.get("name", ""),
        model=given["model"],
        parameters={name: plain(part) for name, part in value.items() if name not in _VARIANT.fields},
        wording=given.get("wording", ""),
        service_tier=given.get("service_tier", ServiceTier.STANDARD),
    )


def _baseline(asked: str | int, variants: Sequence[Variant]) -> int:
    """The place of the baseline among the variants, from 0."""
    names = [variant.name for variant in variants]
    if isinstance(asked, str) and asked in names:
        return names.index(asked)
    if isinstance(asked, int) and 1 <= asked <= len(names):
        return asked - 1
    known = ", ".join(f"'{name}'" for name in names)
    raise invalid("baseline", f"No variant is called this. They are {known}, or 1 to {len(names)}.")
