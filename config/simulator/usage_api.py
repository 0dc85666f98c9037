"""`/v1/organization/usage/completions` and `/v1/organization/costs`: the bill by minute, hour or day, for admin keys.

Parameters, pages and objects are those of the provider's OpenAPI document of 2026-08. What was billed shows after a
delay that can be set, as dashboards lag behind; the provider states no figure for it. Amounts are printed as the live
API prints them (recorded publicly, 2026): texts with many decimals, where the reference has a number.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from aiohttp import web

from config.simulator import errors, replies
from config.simulator.bill import BillLine
from config.simulator.calls import ARRIVAL, PROVIDER
from config.simulator.differences import Reported
from config.simulator.models import catalogue
from config.simulator.usage import BATCH, Usage, cost_parts, written_tokens

USAGE, COSTS = "/v1/organization/usage/completions", "/v1/organization/costs"
PATHS = frozenset({USAGE, COSTS})
SECONDS = {"1m": 60, "1h": 3600, "1d": 86_400}
# Buckets of a page: unless asked for, and at most.
PAGE_USAGE = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}
PAGE_COSTS = {"1d": (7, 180)}
GROUPS_USAGE = ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier")
GROUPS_COSTS = ("project_id", "line_item", "api_key_id")
LINE_ITEMS = ("input", "cached input", "output")
USER = "user-simulator"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which buckets are asked for, from `start` up to `end`, seconds of UTC, and what they are grouped by."""

    start: int
    end: int
    width: int
    buckets: int
    group_by: frozenset[str]
    filters: dict[str, frozenset[str]]

    @property
    def page_end(self) -> int:
        first = self.start - self.start % self.width
        return min(first + self.buckets * self.width, self.end)


async def usage_of_completions(http: web.Request) -> web.StreamResponse:
    return await _answer(http, _asked(http, PAGE_USAGE, GROUPS_USAGE), _usage_results)


async def costs(http: web.Request) -> web.StreamResponse:
    return await _answer(http, _asked(http, PAGE_COSTS, GROUPS_COSTS), _cost_results)


async def _answer(
    http: web.Request, asked: Asked, results: Callable[[Sequence[Reported], Asked], list[dict[str, Any]]]
) -> web.StreamResponse:
    found = await asyncio.to_thread(_reported, http, asked)
    data = []
    for start in range(asked.start - asked.start % asked.width, asked.page_end, asked.width):
        within = [one for one in found if start <= _instant(one) < start + asked.width]
        bucket = {"object": "bucket", "start_time": start, "end_time": min(start + asked.width, asked.end)}
        data.append({**bucket, "results": results(within, asked)})
    more = asked.page_end < asked.end
    body = {"object": "page", "data": data, "has_more": more, "next_page": _page(asked.page_end) if more else None}
    return replies.success(body, replies.provider_headers(http[ARRIVAL]))


def _reported(http: web.Request, asked: Asked) -> list[Reported]:
    """The calls of this page."""
    provider = http.app[PROVIDER]
    lines = provider.bill.lines_between(
        datetime.fromtimestamp(asked.start, UTC), datetime.fromtimestamp(asked.page_end, UTC)
    )
    found = provider.differences.reported(lines, delay=timedelta(seconds=provider.usage_delay), now=datetime.now(UTC))
    mine = [one for one in found if one.line.organization == http[ARRIVAL].caller.organization]
    return [
        one
        for one in mine
        if asked.start <= _instant(one) < asked.page_end
        and all(_names(one)[name] in allowed for name, allowed in asked.filters.items())
    ]


def _instant(one: Reported) -> float:
    return datetime.fromisoformat(one.line.created_at).timestamp()


def _names(one: Reported) -> dict[str, Any]:
    line = one.line
    return {
        "project_id": line.project,
        "user_id": USER,
        "api_key_id": f"key_{line.key_last4}",
        "model": line.snapshot,
        "batch": line.service_tier == BATCH,
        "service_tier": line.service_tier,
    }


def _usage_results(found: Sequence[Reported], asked: Asked) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[Reported]] = {}
    for one in found:
        groups.setdefault(tuple(_names(one)[name] for name in GROUPS_USAGE if name in asked.group_by), []).append(one)
    return [_usage_result(group, asked) for group in groups.values()]


def _usage_result(group: Sequence[Reported], asked: Asked) -> dict[str, Any]:
    prompt = sum(one.line.prompt_tokens for one in group)
    cached = sum(one.line.cached_tokens for one in group)
    output = sum(one.line.completion_tokens for one in group)
    names = _names(group[0])
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": prompt,
        "output_tokens": output,
        "input_cached_tokens": cached,
        "input_uncached_tokens": prompt - cached,
        "input_cache_write_tokens": sum(_spent(one.line).cache_write_tokens for one in group),
        "input_text_tokens": prompt - cached,
        "output_text_tokens": output,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "num_model_requests": len(group),
        **{name: names[name] if name in asked.group_by else None for name in GROUPS_USAGE},
    }


def _cost_results(found: Sequence[Reported], asked: Asked) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[tuple[Decimal, int]]] = {}
    for one in found:
        names = _names(one)
        for item, usd, tokens in _items(one):
            values = {**names, "line_item": f"{one.line.snapshot}, {item}"}
            key = tuple(values[name] if name in asked.group_by else None for name in GROUPS_COSTS)
            groups.setdefault(key, []).append((usd, tokens))
    by_item = "line_item" in asked.group_by
    return [
        {
            "object": "organization.costs.result",
            "amount": {"value": f"{sum((usd for usd, _ in parts), Decimal(0)):.33f}", "currency": "usd"},
            **dict(zip(GROUPS_COSTS, key, strict=True)),
            "quantity": sum(tokens for _, tokens in parts) if by_item else None,
            "quantity_unit": "tokens" if by_item else None,
        }
        for key, parts in groups.items()
    ]


def _items(one: Reported) -> list[tuple[str, Decimal, int]]:
    """Line items of one call that are not empty: name, dollars as reported, tokens."""
    line, spent = one.line, _spent(one.line)
    parts = cost_parts(catalogue()[line.model], line.service_tier, spent)
    tokens = (spent.prompt_tokens - spent.cached_tokens, spent.cached_tokens, spent.completion_tokens)
    items = zip(LINE_ITEMS, (part * one.factor for part in parts), tokens, strict=True)
    return [item for item in items if item[2]]


def _spent(line: BillLine) -> Usage:
    written = written_tokens(catalogue()[line.model], line.prompt_tokens, line.cached_tokens)
    return Usage(line.prompt_tokens, line.cached_tokens, line.completion_tokens, line.reasoning_tokens, written)


# --- The query --------------------------------------------------------------------------------------------------------
def _asked(http: web.Request, pages: dict[str, tuple[int, int]], groups: Sequence[str]) -> Asked:
    """The query, checked. Raises ApiError."""
    query = http.query
    width = query.get("bucket_width", "1d")
    if width not in pages:
        raise errors.invalid_value("bucket_width", width, tuple(pages))
    if "start_time" not in query:
        raise errors.missing_parameter("start_time")
    default, most = pages[width]
    limit = _integer(query.get("limit", str(default)), "limit")
    if not 1 <= limit <= most:
        raise errors.invalid_value("limit", limit, (f"1 to {most}",))
    group_by = frozenset(_listed(http, "group_by"))
    for name in sorted(group_by - set(groups)):
        raise errors.invalid_value("group_by", name, groups)
    plurals = {
        f"{name}s": name for name in groups if f"{name}s" in ("project_ids", "user_ids", "api_key_ids", "models")
    }
    filters = {name: frozenset(_listed(http, plural)) for plural, name in plurals.items() if _listed(http, plural)}
    start = _integer(query["start_time"], "start_time")
    return Asked(
        start=_start_of(query["page"]) if "page" in query else start,
        end=_integer(query.get("end_time", str(int(datetime.now(UTC).timestamp()))), "end_time"),
        width=SECONDS[width],
        buckets=limit,
        group_by=group_by,
        filters=filters,
    )


def _listed(http: web.Request, name: str) -> list[str]:
    """A list in either of its forms: `name[]=` as the official client writes it, or `name=` repeated."""
    return [*http.query.getall(f"{name}[]", []), *http.query.getall(name, [])]


def _integer(text: str, name: str) -> int:
    if not text.isdecimal():
        raise errors.wrong_type(name, "an integer", text)
    return int(text)


def _page(start: int) -> str:
    return "page_" + base64.urlsafe_b64encode(str(start).encode()).decode().rstrip("=")


def _start_of(page: str) -> int:
    """The first second of a page. Raises ApiError for one that was not given out."""
    text = page.removeprefix("page_")
    try:
        return int(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        raise errors.invalid_value("page", page, ("that of an earlier answer",)) from None
