"""Stored completions: those that were created with `store: true`, listed by model and metadata, or read by id."""

import asyncio
import re
from typing import Literal

from aiohttp import web

from config.simulator import errors, replies
from config.simulator.bill import StoredQuery
from config.simulator.calls import ARRIVAL, PROVIDER

LIMIT_DEFAULT, LIMIT_MAX = 20, 100
METADATA_PARAMETER = re.compile(r"metadata\[(?P<name>.+)\]")


async def list_completions(http: web.Request) -> web.StreamResponse:
    """A page of them, oldest first unless `order=desc`; an unknown `after` gives an empty page."""
    wanted = _query(http)
    found = await asyncio.to_thread(http.app[PROVIDER].bill.stored, wanted)
    page = found[: wanted.limit]
    body = {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(found) > wanted.limit,
    }
    return replies.success(body, replies.provider_headers(http[ARRIVAL]))


async def retrieve_completion(http: web.Request) -> web.StreamResponse:
    caller, completion = http[ARRIVAL].caller, http.match_info["completion"]
    found = await asyncio.to_thread(
        http.app[PROVIDER].bill.stored_one, completion, organization=caller.organization, project=caller.project
    )
    if found is None:
        raise errors.completion_not_found(completion)
    return replies.success(found, replies.provider_headers(http[ARRIVAL]))


def metadata_of(http: web.Request) -> dict[str, str]:
    """The `metadata[name]=value` parameters of a query."""
    matches = ((METADATA_PARAMETER.fullmatch(name), value) for name, value in http.query.items())
    return {match["name"]: value for match, value in matches if match}


def _query(http: web.Request) -> StoredQuery:
    caller = http[ARRIVAL].caller
    return StoredQuery(
        organization=caller.organization,
        project=caller.project,
        model=http.query.get("model"),
        metadata=metadata_of(http),
        after=http.query.get("after"),
        limit=_limit(http.query.get("limit")),
        order=_order(http.query.get("order", "asc")),
    )


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT_DEFAULT
    if not text.isdecimal():
        raise errors.wrong_type("limit", "an integer", text)
    if int(text) < 1:
        raise errors.below_minimum("limit", 1, int(text))
    return min(int(text), LIMIT_MAX)


def _order(text: str) -> Literal["asc", "desc"]:
    match text:
        case "asc" | "desc":
            return text
        case _:
            raise errors.invalid_value("order", text, ("asc", "desc"))
