"""Differences that a test seeds between what was billed and what the usage and costs APIs report of it.

The bill itself stays as it was: only the reports leave a call out, show it later, price it otherwise, or have a call
that somebody else made. They are kept in memory and gone with the process.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, cast

from config.simulator import usage
from config.simulator.bill import BillLine
from config.simulator.models import catalogue

Kind = Literal["drop", "delay", "misprice", "extra"]
KINDS = ("drop", "delay", "misprice", "extra")
ONE = Decimal(1)


class InvalidDifference(ValueError):
    """What was asked for is no difference; the message says why."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A call as it is reported: its line, and by how much its price is wrong (1: not at all)."""

    line: BillLine
    factor: Decimal


class Differences:
    """Those that are seeded now. Each of `drop`, `delay` and `misprice` names a line of the bill by its id."""

    def __init__(self) -> None:
        self._dropped: set[str] = set()
        self._delays: dict[str, timedelta | None] = {}
        self._factors: dict[str, Decimal] = {}
        self._extra: list[BillLine] = []

    def clear(self) -> None:
        self._dropped.clear()
        self._delays.clear()
        self._factors.clear()
        self._extra.clear()

    def add(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Seeds one, and says which. Raises InvalidDifference.

        `{"kind": "drop", "id"}`: the call is never reported. `{"kind": "delay", "id", "seconds"}`: it is reported so
        many seconds after it was billed; without seconds, once the differences are cleared. `{"kind": "misprice", "id",
        "factor": "1.5"}`: its dollars are multiplied. `{"kind": "extra", "model", "prompt_tokens", ...}`: a call that
        is in no bill, with the columns of one.
        """
        kind = wanted.get("kind")
        if kind not in KINDS:
            raise InvalidDifference(f"kind is one of {', '.join(KINDS)}")
        if kind == "extra":
            line = _extra_line({name: value for name, value in wanted.items() if name != "kind"})
            self._extra.append(line)
            return {"kind": kind, "id": line.id}
        line_id = wanted.get("id")
        if not isinstance(line_id, str):
            raise InvalidDifference("name the line of the bill by its id")
        match cast(Kind, kind):
            case "drop":
                self._dropped.add(line_id)
            case "delay":
                seconds = wanted.get("seconds")
                self._delays[line_id] = None if seconds is None else timedelta(seconds=_number(seconds, "seconds"))
            case _:
                self._factors[line_id] = _decimal(wanted.get("factor"), "factor")
        return {"kind": kind, "id": line_id}

    def reported(self, billed: Sequence[BillLine], *, delay: timedelta, now: datetime) -> list[Reported]:
        """What the APIs report now of these billed calls and of the extra ones, each after its delay."""
        found = []
        for line in [*(line for line in billed if line.id not in self._dropped), *self._extra]:
            own = self._delays.get(line.id, delay)
            if own is not None and datetime.fromisoformat(line.created_at) + own <= now:
                found.append(Reported(line, self._factors.get(line.id, ONE)))
        return found


def _extra_line(columns: Mapping[str, Any]) -> BillLine:
    """A call of somebody else's: billed now, on a key of theirs, unless the columns say otherwise."""
    unknown = set(columns) - {field.name for field in fields(BillLine)}
    if unknown:
        raise InvalidDifference(f"a line has no {', '.join(sorted(unknown))}")
    model = catalogue().get(columns.get("model", ""))
    if model is None:
        raise InvalidDifference(f"name a model: {', '.join(catalogue())}")
    line = BillLine(
        id=f"extra-{uuid.uuid4().hex}",
        request_id="req_of_somebody_else",
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        key_last4="else",
        organization="org-simulator",
        project="proj_simulator",
        model=model.id,
        snapshot=model.snapshot,
        service_tier="default",
        metadata=json.dumps({}),
        prompt_tokens=10,
        cached_tokens=0,
        completion_tokens=100,
        reasoning_tokens=0,
        cost_usd="",
        client_request_id=None,
    )
    line = replace(line, **columns)
    written = usage.written_tokens(model, line.prompt_tokens, line.cached_tokens)
    tokens = usage.Usage(line.prompt_tokens, line.cached_tokens, line.completion_tokens, line.reasoning_tokens, written)
    return replace(line, cost_usd=usage.decimal_text(usage.cost_usd(model, line.service_tier, tokens)))


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10**9:
        raise InvalidDifference(f"{name} is a number of 0 or more")
    return float(value)


def _decimal(value: Any, name: str) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise InvalidDifference(f"{name} is a decimal number") from None
    if not 0 <= number < 10**6:
        raise InvalidDifference(f"{name} is a number of 0 or more")
    return number
