"""Answers as PostgreSQL can keep them. Pure."""

import re
from math import isfinite
from typing import Any

# What JSON can say and PostgreSQL's text cannot: NUL, and half of a surrogate pair.
NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(value: Any) -> Any:
    """The value without what PostgreSQL has no place for: an answer that was paid for is booked, whatever is in it."""
    match value:
        case str():
            return NOT_STORABLE.sub("\ufffd", value)
        case dict():
            return {str(storable(key)): storable(member) for key, member in value.items()}
        case list():
            return [storable(member) for member in value]
        case float() if not isfinite(value):
            return None
    return value
