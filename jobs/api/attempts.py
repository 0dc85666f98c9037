"""The attempts of a job as they go out: how each call went, what it held, and what it cost."""

from typing import Any

from rest_framework import serializers

from billing.api.contract import CostSerializer, UsdField
from billing.models import Reservation, UsageRecord
from billing.models.budgets import ReservationStatus
from jobs.models import Attempt, Doubt, Job
from jobs.states import AttemptStatus, DoubtStatus


class HoldSerializer(serializers.Serializer):
    """What the call keeps of the budgets: its bound while `open`, nothing once it is settled or released."""

    status = serializers.ChoiceField(choices=ReservationStatus.choices)
    is_in_doubt = serializers.BooleanField()
    amount_usd = UsdField()


class TokensSerializer(serializers.Serializer):
    input_tokens = serializers.IntegerField()
    cached_input_tokens = serializers.IntegerField(help_text="Part of the input tokens.")
    output_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField(help_text="Part of the output tokens.")
    cache_write_tokens = serializers.IntegerField(help_text="Part of the input tokens: written to the cache.")


class AttemptErrorSerializer(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()


class DoubtSerializer(serializers.Serializer):
    """What was done about a call whose outcome was not known. Its hold stays until it is resolved."""

    status = serializers.ChoiceField(choices=DoubtStatus.choices)
    opened_at = serializers.DateTimeField()
    looks = serializers.IntegerField(help_text="How often the answer was looked for at the provider.")
    looked_at = serializers.DateTimeField(allow_null=True)
    last_look = serializers.CharField(allow_null=True, help_text="What the last look came to.")
    next_look_at = serializers.DateTimeField(allow_null=True)
    resolved_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(allow_null=True, help_text="Why it was decided so.")
    corrected_usd = UsdField(
        allow_null=True, help_text="By how much the spend moved when the truth came after a decision."
    )


class AttemptSerializer(serializers.Serializer):
    """One call of the provider for a job."""

    id = serializers.UUIDField()
    object = serializers.CharField()
    number = serializers.IntegerField()
    status = serializers.ChoiceField(choices=AttemptStatus.choices)
    snapshot = serializers.CharField(allow_null=True, help_text="The dated model that answered.")
    hold = HoldSerializer(allow_null=True)
    usage = TokensSerializer(allow_null=True)
    cost = CostSerializer(allow_null=True)
    http_status = serializers.IntegerField(allow_null=True)
    error = AttemptErrorSerializer(allow_null=True)
    doubt = DoubtSerializer(allow_null=True)
    provider_request_id = serializers.CharField(allow_null=True)
    provider_response_id = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    calling_at = serializers.DateTimeField(allow_null=True, help_text="When the request was sent.")
    finished_at = serializers.DateTimeField(allow_null=True)


def attempts_of(job: Job) -> list[dict[str, Any]]:
    """Every attempt of a job, oldest first, each with its reservation and its usage record."""
    attempts = list(job.attempts.select_related("doubt").order_by("number"))
    holds = Reservation.objects.select_related("usage_record").in_bulk(
        [attempt.pk for attempt in attempts], field_name="reference"
    )
    return [_represent(attempt, holds.get(attempt.pk)) for attempt in attempts]


def _represent(attempt: Attempt, hold: Reservation | None) -> dict[str, Any]:
    record: UsageRecord | None = getattr(hold, "usage_record", None)  # only a settled call has one
    return AttemptSerializer(
        {
            "id": attempt.pk,
            "object": "attempt",
            "number": attempt.number,
            "status": attempt.status,
            "snapshot": record and record.snapshot,
            "hold": hold,
            "usage": record,
            "cost": record,
            "http_status": attempt.http_status,
            "error": _error(attempt),
            "doubt": _doubt(attempt.doubt if hasattr(attempt, "doubt") else None),
            "provider_request_id": attempt.provider_request_id or None,
            "provider_response_id": attempt.provider_response_id or None,
            "created_at": attempt.created_at,
            "calling_at": attempt.calling_at,
            "finished_at": attempt.finished_at,
        }
    ).data


def latest_doubt(job: Job) -> dict[str, Any] | None:
    """The doubt about a job's last attempt that had one."""
    return _doubt(Doubt.objects.filter(attempt__job=job).order_by("-attempt_id").first())


def _doubt(doubt: Doubt | None) -> dict[str, Any] | None:
    if doubt is None:
        return None
    shown = {str(name): getattr(doubt, str(name)) for name in DoubtSerializer().fields}
    return DoubtSerializer({**shown, "last_look": doubt.last_look or None, "reason": doubt.reason or None}).data


def _error(attempt: Attempt) -> dict[str, str] | None:
    return {"code": attempt.error_code, "message": attempt.error_message} if attempt.error_code else None
