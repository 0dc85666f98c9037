"""`GET /v1/organization/usage/completions`: tokens and calls by minute, hour or day."""

from collections import Counter
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from billing.models.prices import ServiceTier
from billing.provider_api.asked import Asked, Terms, read
from billing.provider_api.base import AdministrationView
from billing.provider_api.figures import COLUMNS, TIER_COLUMN, Row, usage
from billing.reach import Reach, reach_of_key

GROUPINGS = ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier")
TERMS = Terms(
    pages={"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)},
    groupings=GROUPINGS,
    lists=("project_ids", "user_ids", "api_key_ids", "models"),
    flags=("batch",),
)
# What the provider calls the tier that Bursar calls standard.
_TIERS = {ServiceTier.STANDARD.value: "default"}


class UsageView(AdministrationView):
    def get(self, request: Request) -> Response:
        """A page of buckets: what the key's maker may see of the organization, grouped as asked."""
        asked = read(request, TERMS)
        return Response(asked.answer(_results(asked, reach_of_key(self.api_key))))


def _results(asked: Asked, reach: Reach) -> dict[int, list[dict[str, Any]]]:
    columns = [COLUMNS[name] for name in asked.group_by if name in COLUMNS]
    if {"batch", "service_tier"} & set(asked.group_by):
        columns.append(TIER_COLUMN)
    groups: dict[tuple[int, tuple[Any, ...]], Counter[str]] = {}
    for row in usage(asked, reach, columns):
        names = _names(row)
        key = (row.start, tuple(names[name] if name in asked.group_by else None for name in GROUPINGS))
        groups.setdefault(key, Counter()).update(
            {name: row.totals[name] for name in ("calls", "input_tokens", "cached_input_tokens", "cache_write_tokens")}
            | {name: row.totals[name] for name in ("output_tokens", "reasoning_tokens")}
        )
    found: dict[int, list[dict[str, Any]]] = {}
    for (start, key), totals in sorted(groups.items(), key=lambda group: (-group[1]["input_tokens"], str(group[0]))):
        found.setdefault(start, []).append({**_tokens(totals), **dict(zip(GROUPINGS, key, strict=True))})
    return found


def _names(row: Row) -> dict[str, Any]:
    """Whose a row is, in the provider's names; ids are texts."""
    named: dict[str, Any] = {name: row.owner.get(column) for name, column in COLUMNS.items()}
    texts = {name: None if value is None else str(value) for name, value in named.items()}
    tier = row.owner.get(TIER_COLUMN)
    return {**texts, "batch": tier == ServiceTier.BATCH, "service_tier": _TIERS.get(str(tier), tier)}


def _tokens(totals: Counter[str]) -> dict[str, Any]:
    prompt, cached = totals["input_tokens"], totals["cached_input_tokens"]
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": prompt,
        "input_cached_tokens": cached,
        "input_uncached_tokens": prompt - cached,
        "input_cache_write_tokens": totals["cache_write_tokens"],
        "input_text_tokens": prompt - cached,
        "input_audio_tokens": 0,
        "output_tokens": totals["output_tokens"],
        "output_text_tokens": totals["output_tokens"],
        "output_audio_tokens": 0,
        # Beside the provider's own fields, which do not tell them apart: part of the output tokens.
        "output_reasoning_tokens": totals["reasoning_tokens"],
        "num_model_requests": totals["calls"],
    }
