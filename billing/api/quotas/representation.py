"""Quotas, requests and previews as they are sent."""

from typing import Any

from rest_framework import serializers

from billing.api.forecasts import ForecastSerializer, forecast_as_sent
from billing.api.spend import OwnerSerializer
from billing.limits import BudgetState
from billing.models import Measure, Quota, QuotaRequest, RequestStatus, Scope, WindowKind
from billing.money import plain
from billing.outlook.reach import Outlook
from billing.quotas.preview import Preview


class QuotaSerializer(serializers.Serializer):
    """A quota and how full it stands. Amounts are decimal strings in the unit of `measure`."""

    id = serializers.UUIDField()
    object = serializers.CharField(help_text="`quota`")
    scope = serializers.ChoiceField(choices=Scope.choices)
    owner = OwnerSerializer(help_text="The organization, team, project, member or API key that it binds.")
    measure = serializers.ChoiceField(choices=Measure.choices)
    window = serializers.ChoiceField(choices=WindowKind.choices)
    model = serializers.CharField(allow_null=True, help_text="The one model that is counted; null: every model.")
    is_hard = serializers.BooleanField(help_text="A hard limit is never crossed; a soft one is counted and shown.")
    limit = serializers.CharField(help_text="As configured, without raises.")
    raised_by = serializers.CharField(help_text="By approved requests, for a while.")
    is_in_force = serializers.BooleanField()
    spent = serializers.CharField(allow_null=True, help_text="In the window now open; null where it is not in force.")
    held = serializers.CharField(allow_null=True)
    remaining = serializers.CharField(allow_null=True, help_text="Of the limit with its raises.")
    resets_at = serializers.DateTimeField(allow_null=True)
    forecast = ForecastSerializer(allow_null=True, help_text="Null where it is not in force.")
    starts_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    risk = serializers.CharField(
        allow_null=True, help_text="Of a reserve: the share of calls that may come to more than was held for them."
    )
    created_at = serializers.DateTimeField()


class RequestedQuotaSerializer(serializers.Serializer):
    """The quota that more is asked of."""

    id = serializers.UUIDField()
    scope = serializers.ChoiceField(choices=Scope.choices)
    owner = OwnerSerializer()
    measure = serializers.ChoiceField(choices=Measure.choices)
    window = serializers.ChoiceField(choices=WindowKind.choices)
    model = serializers.CharField(allow_null=True)


class QuotaRequestSerializer(serializers.Serializer):
    """A request for more, and what became of it. Amounts are decimal strings in the unit of the quota's measure."""

    id = serializers.UUIDField()
    object = serializers.CharField(help_text="`quota_request`")
    status = serializers.ChoiceField(choices=RequestStatus.choices)
    quota = RequestedQuotaSerializer()
    amount = serializers.CharField()
    until = serializers.DateTimeField()
    reason = serializers.CharField()
    asked_by = OwnerSerializer()
    asked_at = serializers.DateTimeField()
    granted_amount = serializers.CharField(allow_null=True, help_text="What was added to the limit.")
    granted_until = serializers.DateTimeField(allow_null=True, help_text="When it is taken off again.")
    decided_by = OwnerSerializer(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    note = serializers.CharField(allow_blank=True)


class RefusedCallSerializer(serializers.Serializer):
    attempt_id = serializers.UUIDField()
    at = serializers.DateTimeField(help_text="When it was dispatched.")
    project = OwnerSerializer()
    model = serializers.CharField()
    bound = serializers.CharField(help_text="What it could come to at most.")
    needed = serializers.CharField(help_text="That, and what was spent and held before it.")
    over = serializers.CharField(help_text="By how much that is more than the limit.")
    outcome = serializers.ChoiceField(choices=["never", "next_window", "soon"])


class PreviewSerializer(serializers.Serializer):
    """What the limit would have done. A call that found no room still counts for those after it, as it ran in truth:
    the first one is exact, the numbers are of the month as it was.
    """

    month = serializers.CharField()
    measure = serializers.ChoiceField(choices=Measure.choices)
    limit = serializers.CharField()
    is_hard = serializers.BooleanField(
        help_text="A soft limit refuses nothing: then these calls would have crossed it."
    )
    calls = serializers.IntegerField(help_text="All that the quota would have counted.")
    refused = serializers.IntegerField(help_text="Of them, those that would have found no room: the sum of the three.")
    never = serializers.IntegerField(help_text="More than the limit by themselves: refused when they are submitted.")
    next_window = serializers.IntegerField(help_text="Would have waited for the next window.")
    soon = serializers.IntegerField(help_text="Would have waited until calls in flight were settled.")
    windows = serializers.IntegerField(help_text="In how many windows that was.")
    first = RefusedCallSerializer(many=True, help_text="The earliest, at most twenty.")


def quota_as_sent(quota: Quota, state: BudgetState | None, found: Outlook | None) -> dict[str, Any]:
    """`state`: how full it stands, `found`: how it will stand; None where it is not in force."""
    measure = quota.measure

    def amount(name: str) -> str | None:
        return None if state is None else plain(measure, getattr(state, name))

    return {
        "id": quota.pk,
        "object": "quota",
        **_counts(quota),
        "is_hard": quota.is_hard,
        "limit": plain(measure, quota.limit),
        "raised_by": plain(measure, state.limit.amount - quota.limit if state else quota.limit - quota.limit),
        "is_in_force": state is not None,
        "spent": amount("spent"),
        "held": amount("held"),
        "remaining": amount("remaining"),
        "resets_at": state and state.limit.window.end,
        "forecast": found and forecast_as_sent(found, Measure(measure)),
        "starts_at": quota.starts_at,
        "expires_at": quota.expires_at,
        "risk": quota.stated_risk,
        "created_at": quota.created_at,
    }


def request_as_sent(request: QuotaRequest) -> dict[str, Any]:
    measure, granted, decider = request.quota.measure, request.granted_amount, request.decided_by
    return {
        "id": request.pk,
        "object": "quota_request",
        "status": request.status,
        "quota": {"id": request.quota_id, **_counts(request.quota)},
        "amount": plain(measure, request.amount),
        "until": request.until,
        "reason": request.reason,
        "asked_by": {"id": str(request.asked_by_id), "name": str(request.asked_by)},
        "asked_at": request.asked_at,
        "granted_amount": None if granted is None else plain(measure, granted),
        "granted_until": request.granted_until,
        "decided_by": decider and {"id": str(decider.pk), "name": str(decider)},
        "decided_at": request.decided_at,
        "note": request.note,
    }


def preview_as_sent(found: Preview) -> dict[str, Any]:
    measure = found.measure
    return {
        "month": f"{found.month.start:%Y-%m}",
        "measure": measure,
        "limit": plain(measure, found.limit),
        "is_hard": found.is_hard,
        "calls": found.calls,
        "refused": found.refused,
        "never": found.too_large,
        "next_window": found.next_window,
        "soon": found.soon,
        "windows": found.windows,
        "first": [
            {
                "attempt_id": call.attempt,
                "at": call.at,
                "project": {"id": str(call.project_id), "name": call.project_name},
                "model": call.model,
                "bound": plain(measure, call.bound),
                "needed": plain(measure, call.needed),
                "over": plain(measure, call.over),
                "outcome": call.outcome,
            }
            for call in found.first
        ],
    }


def _counts(quota: Quota) -> dict[str, Any]:
    """Whom a quota binds and what it counts."""
    owner_id = quota.team_id or quota.project_id or quota.member_id or quota.api_key_id or quota.organization_id
    return {
        "scope": quota.scope,
        "owner": {"id": str(owner_id), "name": quota.owner_name},
        "measure": quota.measure,
        "window": quota.window,
        "model": quota.model or None,
    }
