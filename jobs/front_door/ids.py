"""Ids as the provider writes them: what it is, and which. And its lists, paged by them."""

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Model, QuerySet
from rest_framework.request import Request

from jobs.validation import RequestRejected

FILE, BATCH = "file-", "batch_"


# No row has it.
NOBODYS = UUID(int=0)


def id_of(text: str, prefix: str) -> UUID:
    """The id behind a prefix; for any other text, one that nothing has."""
    return UUID(text.removeprefix(prefix)) if re.fullmatch(rf"{prefix}[0-9a-f]{{32}}", text) else NOBODYS


@dataclass(frozen=True, slots=True)
class Paging:
    """How long a page is, and at most."""

    usual: int
    most: int


def page(request: Request, rows: "QuerySet[Any]", prefix: str, paging: Paging) -> tuple[list[Any], bool]:
    """The rows of one page and whether there are more, by `after`, `limit` and `order`. Raises RequestRejected."""
    order = request.query_params.get("order", "desc")
    if order not in {"asc", "desc"}:
        message = f"Invalid value: '{order[:64]}'. Supported values are: 'asc' and 'desc'."
        raise RequestRejected(message, code="invalid_value", param="order")
    limit = _limit(request, paging)
    if "after" in request.query_params:
        after = id_of(request.query_params["after"], prefix)
        if not rows.filter(pk=after).exists():
            raise RequestRejected("There is nothing of this id to go on after.", code="invalid_value", param="after")
        rows = rows.filter(pk__gt=after) if order == "asc" else rows.filter(pk__lt=after)
    found = list(rows.order_by("id" if order == "asc" else "-id")[: limit + 1])
    return found[:limit], len(found) > limit


def _limit(request: Request, paging: Paging) -> int:
    text = request.query_params.get("limit", str(paging.usual))
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= paging.most:
        message = f"Invalid 'limit': expected an integer from 1 to {paging.most}."
        raise RequestRejected(message, code="invalid_value", param="limit")
    return int(text)


def as_list(rows: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A page as the provider wraps one."""
    return {
        "object": "list",
        "data": rows,
        "first_id": rows[0]["id"] if rows else None,
        "last_id": rows[-1]["id"] if rows else None,
        "has_more": has_more,
    }


def known(row: Model | None, what: str, asked: str) -> Any:
    """The row, if there is one. Raises RequestRejected, for another project's as for one that never was."""
    if row is None:
        raise RequestRejected(f"No such {what} object: {asked[:80]}", param="id", status=404)
    return row
