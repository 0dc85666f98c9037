"""`GET /v1/organization/costs`: money by day, to the last digit that the ledger has."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.money import usd
from billing.provider_api.asked import Asked, Terms, read
from billing.provider_api.base import AdministrationView
from billing.provider_api.figures import COLUMNS, Row, adjustments, usage
from billing.reach import Reach, reach_of_key

GROUPINGS = ("project_id", "user_id", "line_item", "api_key_id")
TERMS = Terms(
    pages={"1d": (7, 180)},
    groupings=GROUPINGS,
    lists=("project_ids", "api_key_ids", "user_ids"),
    texts=("line_items",),
)
ADJUSTMENT = "adjustment"
UNIT = "tokens"


@dataclass
class _Sum:
    usd: Decimal = field(default_factory=Decimal)
    tokens: int | None = 0  # None: of something else than tokens


class CostsView(AdministrationView):
    def get(self, request: Request) -> Response:
        """A page of days: what the key's maker may see of the organization, with what was adjusted."""
        asked = read(request, TERMS)
        return Response(asked.answer(_results(asked, reach_of_key(self.api_key))))


def _results(asked: Asked, reach: Reach) -> dict[int, list[dict[str, Any]]]:
    wanted = frozenset(asked.lists.get("line_items", ()))
    by_item = "line_item" in asked.group_by
    groups: dict[tuple[int, tuple[Any, ...]], _Sum] = {}
    for row, item, amount, tokens in _lines(asked, reach, with_items=by_item or bool(wanted)):
        if wanted and item not in wanted:
            continue
        names = {**{name: _text(row.owner.get(COLUMNS.get(name, ""))) for name in GROUPINGS}, "line_item": item}
        key = (row.start, tuple(names[name] if name in asked.group_by else None for name in GROUPINGS))
        group = groups.setdefault(key, _Sum())
        group.usd += amount
        group.tokens = None if tokens is None or group.tokens is None else group.tokens + tokens
    found: dict[int, list[dict[str, Any]]] = {}
    for (start, key), group in sorted(groups.items(), key=lambda one: (-one[1].usd, str(one[0]))):
        found.setdefault(start, []).append(_result(key, group, by_item=by_item))
    return found


def _lines(asked: Asked, reach: Reach, *, with_items: bool) -> Iterator[tuple[Row, str | None, Decimal, int | None]]:
    """Owner, line item, dollars and tokens; without items one line for each owner."""
    columns = [COLUMNS[name] for name in asked.group_by if name in COLUMNS]
    for row in usage(asked, reach, [*columns, "model"] if with_items else columns):
        if with_items:
            for item, amount, tokens in _items(row):
                yield row, item, amount, tokens
        else:
            yield row, None, row.totals["total_usd"], None
    for row in adjustments(asked, reach, by_project="project_id" in asked.group_by):
        yield row, ADJUSTMENT, row.totals["total_usd"], None


def _items(row: Row) -> Iterator[tuple[str, Decimal, int]]:
    """What a model's calls came to by what was bought: name, dollars, tokens. Reasoning is part of the output."""
    model, totals = row.owner["model"], row.totals
    cached = totals["cached_input_tokens"]
    for name, amount, tokens in (
        ("input", totals["input_usd"], totals["input_tokens"] - cached),
        ("cached input", totals["cached_input_usd"], cached),
        ("output", totals["output_usd"] + totals["reasoning_usd"], totals["output_tokens"]),
    ):
        if tokens or amount:
            yield f"{model}, {name}", amount, tokens


def _result(key: tuple[Any, ...], group: _Sum, *, by_item: bool) -> dict[str, Any]:
    tokens = group.tokens if by_item else None
    return {
        "object": "organization.costs.result",
        # The value is a JSON number, as the provider's is, with every digit; `usd` is the same for whoever reads
        # numbers as floats.
        "amount": {"value": group.usd, "currency": "usd", "usd": usd(group.usd)},
        **dict(zip(GROUPINGS, key, strict=True)),
        "quantity": tokens,
        "quantity_unit": None if tokens is None else UNIT,
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
