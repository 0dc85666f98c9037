"""Fields that take what was meant and nothing that only looks like it."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.money import usd


class TextField(serializers.CharField):
    """A text as it was sent: nothing is trimmed, and no number becomes one."""

    def __init__(self, **kwargs: Any):
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if not data.strip():
            self.fail("blank")
        return data


class WholeNumberField(serializers.IntegerField):
    """An integer of JSON; neither "5" nor true is one."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return super().to_internal_value(data)


class InstantField(serializers.DateTimeField):
    """An ISO 8601 instant with its offset from UTC; without one nobody could say when it is."""

    default_error_messages = {"naive": "Name the offset from UTC, as in 2030-01-31T12:00:00Z."}

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            self.fail("naive")
        return super().enforce_timezone(value)


class AmountField(serializers.DecimalField):
    """US dollars above zero: a decimal string, or a number that the parser kept exact."""

    default_error_messages = {"not_positive": "This is more than 0."}
    _PLAIN = re.compile(r"\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)

    def __init__(self, **kwargs: Any):
        super().__init__(max_digits=24, decimal_places=12, **kwargs)

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        # DRF takes blanks for null, and a limit that its owner believes in would be gone.
        return serializers.Field.validate_empty_values(self, data)

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, (str, int, Decimal)):
            self.fail("invalid")
        if isinstance(data, str) and not self._PLAIN.fullmatch(data):
            self.fail("invalid")
        value = super().to_internal_value(data)
        if value <= 0:
            self.fail("not_positive")
        return value


class FlagField(serializers.BooleanField):
    """true or false of JSON; neither "true" nor 1 is one."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


@extend_schema_field({"type": "string", "format": "decimal", "examples": ["0.077385"]})
class UsdField(serializers.Field):
    """An amount of US dollars on its way out: an exact decimal string."""

    def __init__(self, **kwargs: Any):
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: Any) -> str:
        return usd(value)
