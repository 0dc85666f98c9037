"""The provider's own bill, fetched by its usage and costs APIs: what was used, and what it cost, by UTC day.

Plain HTTP and not the official client, which makes floats of amounts. Paths, parameters and members are those of the
provider's OpenAPI document (2026-08); amounts come as numbers or as texts of many digits, as the live API prints them.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import httpx2

from billing.models import ServiceTier
from billing.reconciliation.bills import BilledCost, BilledUsage, ProviderBill
from billing.reconciliation.figures import Figures
from jobs.credentials import AdminAccess

logger = logging.getLogger(__name__)

USAGE, COSTS = "/organization/usage/completions", "/organization/costs"
# Buckets of a page; more are refused.
USAGE_PAGE, COSTS_PAGE = 31, 180
# A year of days is a dozen pages: a server that gives ever more of them is broken.
MOST_PAGES = 1000
TIMEOUT_SECONDS = 60
# What passes by itself is tried again after so many seconds; then the day's next run does.
PAUSES_SECONDS = (1, 5)
# What the live API puts behind the model in a line item: 'gpt-4o-mini-2024-07-18, cached input' (recorded in 2025).
TOKEN_ITEMS = frozenset({"input", "cached input", "output"})
LONGEST_NAME = {"project": 100, "model": 200}


class BillUnreadable(Exception):
    """The provider's bill could not be read; the message says why and holds no secret."""


def fetch(access: AdminAccess, first_day: date, end_day: date) -> ProviderBill:
    """What the provider bills for the days from `first_day` up to, and not including, `end_day`.

    Raises BillUnreadable: refused, not reached, or not in the form that is documented.
    """
    bounds = {"start_time": _second_of(first_day), "end_time": _second_of(end_day), "bucket_width": "1d"}
    with httpx2.Client(timeout=TIMEOUT_SECONDS, headers=_headers(access), trust_env=False) as client:
        try:
            by = ["project_id", "model", "service_tier", "batch"]
            used = [*_results(client, access.base_url + USAGE, {**bounds, "limit": USAGE_PAGE, "group_by[]": by})]
            by = ["project_id", "line_item"]
            priced = [*_results(client, access.base_url + COSTS, {**bounds, "limit": COSTS_PAGE, "group_by[]": by})]
            return ProviderBill([_usage(*each) for each in used], [_cost(*each) for each in priced])
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise BillUnreadable(
                f"The provider's bill is not in its form ({type(error).__name__}: {error})."
            ) from error


def _headers(access: AdminAccess) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {access.api_key}"}
    if access.provider_organization_id:
        headers["OpenAI-Organization"] = access.provider_organization_id
    return headers


def _second_of(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _results(client: httpx2.Client, url: str, query: Mapping[str, Any]) -> Iterator[tuple[date, dict[str, Any]]]:
    """Every result of every page, with the day of its bucket."""
    page: str | None = None
    for _ in range(MOST_PAGES):
        body = _page(client, url, {**query, "page": page} if page else query)
        for bucket in body["data"]:
            day = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(bucket["start_time"]))).date()
            yield from ((day, result) for result in bucket["results"])
        page, last = body.get("next_page"), page
        if not body.get("has_more"):
            return
        if not page or page == last:
            raise ValueError("it says that there is more, and not where")
    raise ValueError(f"it has more than {MOST_PAGES} pages")


def _page(client: httpx2.Client, url: str, query: Mapping[str, Any]) -> Any:
    """One page. Raises BillUnreadable; an overloaded or unreachable server is asked three times."""
    for pause in (*PAUSES_SECONDS, None):
        try:
            answer = client.get(url, params=dict(query))
            if answer.status_code == 200:
                return json.loads(answer.text, parse_float=Decimal)
            told, is_passing = f"HTTP {answer.status_code}", answer.status_code == 429 or answer.status_code >= 500
        except httpx2.TransportError as error:
            told, is_passing = type(error).__name__, True
        if pause is None or not is_passing:
            break
        logger.warning("the provider's bill was not read, once more in %s s: %s", pause, told)
        time.sleep(pause)
    hint = " Is it an admin key (sk-admin-...)?" if told in {"HTTP 401", "HTTP 403"} else ""
    raise BillUnreadable(f"The provider did not give its bill: {told}.{hint}")


def _usage(day: date, result: Mapping[str, Any]) -> BilledUsage:
    return BilledUsage(
        day=day,
        provider_project=_name(result.get("project_id"), "project"),
        model=_name(result["model"], "model") or "unnamed model",
        service_tier=_tier(result),
        figures=Figures(
            requests=_count(result["num_model_requests"]),
            input=_count(result["input_tokens"]),
            cached=_count(result.get("input_cached_tokens") or 0),
            output=_count(result["output_tokens"]),
        ),
    )


def _cost(day: date, result: Mapping[str, Any]) -> BilledCost:
    amount = result["amount"]
    if str(amount["currency"]).lower() != "usd":
        raise ValueError(f"it is not in US dollars but in {amount['currency']!s:.10}")
    return BilledCost(
        day=day,
        provider_project=_name(result.get("project_id"), "project"),
        model=model_of(result.get("line_item")),
        usd=_amount(amount["value"]),
    )


def model_of(line_item: str | None) -> str:
    """The model whose tokens a line item is about; what is no model's tokens is a line of its own, under its name."""
    model, comma, what = (line_item or "unnamed item").rpartition(", ")
    return _name(model if comma and what.lower() in TOKEN_ITEMS else line_item or "unnamed item", "model")


def _tier(result: Mapping[str, Any]) -> str:
    """Our word for it: 'default' and what the provider does not say is standard."""
    if result.get("batch"):
        return ServiceTier.BATCH
    named = result.get("service_tier")
    return str(named) if named in (ServiceTier.FLEX, ServiceTier.PRIORITY, ServiceTier.BATCH) else ServiceTier.STANDARD


def _name(value: Any, kind: str) -> str:
    return str(value or "").replace("\x00", "")[: LONGEST_NAME[kind]]


def _count(value: Any) -> int:
    """A whole number; the API may print it with a decimal point."""
    number = int(value)
    if isinstance(value, bool) or number != value or number < 0:
        raise ValueError(f"expected a count, got {value!r:.60}")
    return number


def _amount(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise TypeError(f"expected an amount, got {value!r:.60}")
    try:
        amount = Decimal(value)
    except InvalidOperation as error:
        raise ValueError(f"expected an amount, got {value!r:.60}") from error
    if not amount.is_finite() or abs(amount) >= 10**11:
        raise ValueError(f"expected an amount, got {value!r:.60}")
    return amount
