"""Advice on a prompt as it goes out, and the job that was submitted with it."""

from typing import Any

from rest_framework import serializers

from accounts.models import AdviceRule
from billing.api.contract import UsdField
from jobs.api.representation import JobSerializer, job_as_sent
from jobs.models import Job


class PassageSerializer(serializers.Serializer):
    """Where in the prompt: characters of the text of one message. `prompt` is message 0."""

    message = serializers.IntegerField(help_text="Its place in `messages`, from 0.")
    start = serializers.IntegerField()
    end = serializers.IntegerField(help_text="The character behind the last.")
    quote = serializers.CharField(
        allow_null=True, help_text="The beginning of the passage; null where the request has an Idempotency-Key."
    )


class AdviceSerializer(serializers.Serializer):
    """Something that would make the call cheaper or its answer better."""

    rule = serializers.ChoiceField(choices=AdviceRule.choices)
    passage = PassageSerializer(allow_null=True, help_text="null: it is about a parameter.")
    do = serializers.CharField(help_text="What to do.")
    why = serializers.CharField()
    source = serializers.CharField(help_text="Where that is known from.")  # type: ignore[assignment]
    saving_usd = UsdField(
        allow_null=True,
        help_text="The money in one call that this is about, by earlier calls like it; null where there are none.",
    )


class SubmittedJobSerializer(JobSerializer):
    """A job that was just submitted, with the advice on its prompt. Looking at the job later shows none."""

    advice = AdviceSerializer(many=True, help_text="What would make it cheaper or its answer better; often nothing.")


def submitted_as_sent(job: Job, *, is_kept: bool) -> dict[str, Any]:
    """What goes out for a job that was submitted by this request.

    `is_kept`: the answer is kept for repetitions, which get the same bytes. It quotes nothing then: words of a prompt
    are kept nowhere but with its content, and erased with it.
    """
    advice = [one.as_sent() for one in job.advice]
    return {**job_as_sent(job), "advice": [_unquoted(one) for one in advice] if is_kept else advice}


def _unquoted(advice: dict[str, Any]) -> dict[str, Any]:
    passage = advice["passage"]
    return {**advice, "passage": passage and {**passage, "quote": None}}
