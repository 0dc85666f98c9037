"""Forecasts of limits as they are sent."""

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from billing.models import Measure
from billing.money import IN_DOLLARS, plain
from billing.outlook.reach import Basis, Outlook, Prospect

_CENT = Decimal("0.01")


class ForecastSerializer(serializers.Serializer):
    """When the limit is reached if it goes on as it does. Four of five cases lie between earliest and latest."""

    prospect = serializers.ChoiceField(
        choices=[each.value for each in Prospect],
        help_text="`reached`: it is used up. `expected`: within the window. `possible`: within it in the early part of "
        "the range alone. `not_in_window`: not before it resets. `too_little_history`: fewer than five whole days.",
    )
    expected_at = serializers.DateTimeField(allow_null=True, help_text="Null: not in this window, or not known.")
    earliest_at = serializers.DateTimeField(allow_null=True)
    latest_at = serializers.DateTimeField(allow_null=True)
    at_window_end = serializers.CharField(
        allow_null=True, help_text="What the window will have come to at its end, in the unit of `measure`."
    )
    at_window_end_low = serializers.CharField(allow_null=True)
    at_window_end_high = serializers.CharField(allow_null=True)
    basis = serializers.ChoiceField(
        choices=[each.value for each in Basis], allow_null=True, help_text="What it goes by."
    )
    history_days = serializers.IntegerField(help_text="Whole days before today that it is learnt from: 28 at most.")


def forecast_as_sent(found: Outlook, measure: Measure) -> dict[str, Any]:
    """Instants in UTC; dollars in whole cents, all else in whole numbers."""

    def amount(value: Decimal | None) -> str | None:
        if value is None:
            return None
        return plain(measure, value.quantize(_CENT if measure in IN_DOLLARS else Decimal(1)))

    return {
        "prospect": found.prospect.value,
        "expected_at": found.expected and f"{found.expected:%Y-%m-%dT%H:%M:%SZ}",
        "earliest_at": found.earliest and f"{found.earliest:%Y-%m-%dT%H:%M:%SZ}",
        "latest_at": found.latest and f"{found.latest:%Y-%m-%dT%H:%M:%SZ}",
        "at_window_end": amount(found.at_end),
        "at_window_end_low": amount(found.low),
        "at_window_end_high": amount(found.high),
        "basis": found.basis and found.basis.value,
        "history_days": found.history_days,
    }
