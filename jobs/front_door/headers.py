"""Headers beside an answer: what it cost, what is left of the budget, how far the rate limits are used.

Nothing here may keep an answer from going out: what cannot be told now is left out.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from math import floor
from time import monotonic

from django.db import Error

from accounts.models import ApiKey, RateLimit
from accounts.remembered import remembered
from accounts.tiers import rate_limit, standing
from billing.budgets import owner_of, states_of
from billing.clock import database_now
from billing.limits import BudgetState
from billing.models import Measure
from billing.money import usd
from jobs import catalogue, limiter
from jobs.advice.advice import Advice
from jobs.credentials import access_of
from jobs.limiter.room import Level
from jobs.models import Job
from jobs.responses import tokens_of

logger = logging.getLogger(__name__)

# A limiter that did not answer is not asked again for so long: each asking may take seconds.
LIMITER_PAUSE_SECONDS = 10.0
# The provider states the limits of a minute; where there are none, those of a day.
_STATED = {
    "requests": ("requests_per_minute", "requests_per_day"),
    "tokens": ("tokens_per_minute", "tokens_per_day"),
}
_limiter_away_until = 0.0


def headers_of(job: Job, api_key: ApiKey) -> dict[str, str]:
    """All that is told of a job, as far as it is known by now."""
    return {**job_headers(job), **_cost_headers(job), **_budget_headers(job, api_key), **_rate_headers(job, api_key)}


def job_headers(job: Job) -> dict[str, str]:
    """What is known of it from the beginning."""
    return {"X-Job-Id": str(job.pk), "X-Cost-Reserved-USD": usd(job.bound_usd)}


def advice_headers(advice: Sequence[Advice]) -> dict[str, str]:
    """By which rules there is advice on the prompt; clients that know nothing of it read the body alone."""
    return {"X-Advice": ", ".join(one.rule.value for one in advice)} if advice else {}


def _cost_headers(job: Job) -> dict[str, str]:
    if job.total_usd is None:
        return {}
    tokens = tokens_of(job.usage)
    return {
        "X-Cost-USD": usd(job.total_usd),
        "X-Cost-Input-Tokens": str(tokens["input"]),
        "X-Cost-Output-Tokens": str(tokens["output"]),
        "X-Cost-Reasoning-Tokens": str(tokens["reasoning"]),
    }


# --- Budgets ----------------------------------------------------------------------------------------------------------
def _budget_headers(job: Job, api_key: ApiKey) -> dict[str, str]:
    """The limit in dollars of which least is left to the caller, for the model that was called."""
    try:
        entry = catalogue.find(job.model)
        states = states_of(owner_of(api_key, entry.model.name if entry else job.model), database_now())
    except Error as error:
        logger.warning("an answer goes out without what is left of its budgets: %s", error)
        return {}
    in_dollars = [state for state in states if state.limit.is_hard and state.limit.measure == Measure.USD]
    if not in_dollars:
        return {}
    tightest = min(in_dollars, key=_how_tight)
    resets_at = tightest.limit.window.end
    return {"X-Budget-Remaining-USD": usd(tightest.remaining), "X-Budget-Reset": f"{resets_at:%Y-%m-%dT%H:%M:%SZ}"}


def _how_tight(state: BudgetState) -> tuple[Decimal, datetime]:
    return state.remaining, state.limit.window.end


# --- Rate limits ------------------------------------------------------------------------------------------------------
def _rate_headers(job: Job, api_key: ApiKey) -> dict[str, str]:
    """How far the limits of the model's family are used on the account, as the provider says it."""
    global _limiter_away_until
    entry = catalogue.find(job.model)
    if entry is None or monotonic() < _limiter_away_until:
        return {}
    limits = _limits_of(api_key, entry.model.family)
    if limits is None:
        return {}
    try:
        room = limiter.room(limiter.account_of(access_of(api_key.project)), entry.model.family, limits)
    except limiter.LimiterAway:
        _limiter_away_until = monotonic() + LIMITER_PAUSE_SECONDS
        return {}
    levels = {bucket.name: level for bucket, level in room.levels}
    return dict(_stated(levels, room.now))


def _stated(levels: Mapping[str, Level], now: float) -> Iterator[tuple[str, str]]:
    for unit, names in _STATED.items():
        level = next((levels[name] for name in names if name in levels), None)
        if level is None:
            continue
        used = level.used_at(now)
        yield f"x-ratelimit-limit-{unit}", str(round(level.limit))
        yield f"x-ratelimit-remaining-{unit}", str(floor(level.limit - used))
        yield f"x-ratelimit-reset-{unit}", duration(used / level.rate if level.rate else 0.0)


def duration(milliseconds: float) -> str:
    """So long a time as the provider writes it: 0s, 120ms, 4m12.172s."""
    whole = round(milliseconds)
    if whole < 1000:
        return f"{whole}ms" if whole else "0s"
    minutes, rest = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}" if minutes else seconds


@remembered()
def _limits_of(api_key: ApiKey, family: str) -> RateLimit | None:
    organization, now = api_key.project.organization, database_now()
    return rate_limit(standing(organization, now).tier.number, family, organization.terms_date(now))
