"""What would become of a submission if it were made now: its bound, advice, what it is expected to come to, the limits.

Nothing is made, held or promised by it. A prompt that can never run is refused as a submission of it would be; what
else stands in its way is told with the rest, so that one look shows all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import isinf
from typing import Any

from accounts.errors import DomainError
from accounts.models import ApiKey
from accounts.tiers import rate_limit, standing
from billing.amounts import Amounts, at_most
from billing.budgets import owner_of, states_of
from billing.grants import first_short, ways_to_hold
from billing.limits import BudgetState
from billing.money import plain
from billing.pricing import PriceTerms, bound_usd
from jobs import limiter, submission
from jobs.advice import refusing
from jobs.advice.advice import Advice
from jobs.advice.rules import ADVISED_CAP, EMPTY_RISK
from jobs.backlog import check_room
from jobs.catalogue import CatalogueEntry
from jobs.credentials import access_of
from jobs.estimates import Bound, PromptSize, bound_of
from jobs.learning.expectation import Expectation
from jobs.learning.predictions import likeness_of
from jobs.models import Queue
from jobs.queues import queue_id
from jobs.submission import Submission

# Of calls like it, so many stayed within.
SHARES = {"p50": Decimal("0.50"), "p90": Decimal("0.90"), "p99": Decimal("0.99")}


@dataclass(frozen=True, slots=True)
class Expected:
    """What such calls came to: output tokens and US dollars within which a share of them stayed.

    `empty_probability`: that a call with this cap is paid for and shows nothing.
    """

    calls: int
    level: str
    output_tokens: dict[str, int]
    cost_usd: dict[str, Decimal]
    empty_probability: Decimal
    recommended_cap: int


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit, and what the call would need and leave of it at most, in the unit of its measure."""

    state: BudgetState
    required: Decimal

    @property
    def fits(self) -> bool:
        return self.required <= self.state.remaining

    def as_sent(self) -> dict[str, Any]:
        measure = self.state.limit.measure
        left = max(self.state.remaining - self.required, Decimal(0))
        return {**self.state.describe(self.required), "fits": self.fits, "left": plain(measure, left)}


@dataclass(frozen=True, slots=True)
class Preview:
    """`refusal`: for what the submission would be refused. `waits_for`: what its job would wait for; None: a slot."""

    bound: Bound
    counted_tokens: int
    advice: tuple[Advice, ...]
    expected: Expected | None
    limits: list[Standing]
    refusal: DomainError | None
    waits_for: dict[str, Any] | None


def preview(api_key: ApiKey, wanted: Submission, now: datetime) -> Preview:
    """Raises RequestRejected as a submission would, and UnknownPrice: without a price nothing can be told."""
    project = api_key.project
    submission.check_deadline(wanted, now)
    entry = submission.validated(project, wanted.prompt, now)
    price = submission.price_now(project.organization, wanted, entry, now)
    size = submission.sized(wanted.prompt, entry)
    bound = bound_of(wanted.prompt, size, max_output_tokens=entry.max_output_tokens, price=price)
    like = likeness_of(project, wanted.prompt, bound)
    advice = submission.advice_on(project, wanted, like, now)
    amounts = at_most(bound.usd, input_tokens=bound.input_tokens, output_tokens=bound.output_tokens)
    limits = [
        Standing(state, amounts.of(state.limit.measure))
        for state in states_of(owner_of(api_key, entry.model.name), now)
    ]
    refusal = _refusal(api_key, wanted, advice, now)
    likely = submission.likely_to_cost(project, wanted, bound, price)
    ways = ways_to_hold(amounts, likely, [one.state.limit for one in limits])
    return Preview(
        bound=bound,
        counted_tokens=size.counted_tokens,
        advice=advice,
        expected=_expected(like.expectation(price), size, bound, price),
        limits=sorted(limits, key=_how_full),
        refusal=refusal,
        waits_for=None if refusal else _waits_for(api_key, entry, bound, _short(ways, limits), now),
    )


def _refusal(api_key: ApiKey, wanted: Submission, advice: tuple[Advice, ...], now: datetime) -> DomainError | None:
    try:
        check_room(api_key.project)
        submission.check(api_key, wanted, now)
        refusing.check(api_key.project, advice)
    except DomainError as error:
        return error
    return None


def _expected(history: Expectation | None, size: PromptSize, bound: Bound, price: PriceTerms) -> Expected | None:
    if history is None:
        return None
    tokens = {name: min(history.at(share), bound.output_tokens) for name, share in SHARES.items()}
    return Expected(
        calls=history.calls,
        level=history.level,
        output_tokens=tokens,
        cost_usd={
            name: bound_usd(input_tokens=size.counted_tokens, output_tokens=output, price=price)
            for name, output in tokens.items()
        },
        empty_probability=history.empty_probability(bound.output_tokens),
        recommended_cap=history.cap_for(EMPTY_RISK),
    )


def recommended_cap(found: Preview, *, is_reasoning: bool) -> int | None:
    """By history, else what the provider advises; None for a model whose answers have no invisible part."""
    if found.expected is not None:
        return found.expected.recommended_cap
    return ADVISED_CAP if is_reasoning else None


def _how_full(one: Standing) -> Decimal:
    limit = one.state.limit
    return (one.state.remaining - one.required) / limit.amount if limit.amount else Decimal(-1)


def _short(ways: Sequence[Amounts], limits: list[Standing]) -> Standing | None:
    """The limit that has no room for the call now; None where there is a way to hold it."""
    limit = first_short(ways, [(one.state.limit, one.state.remaining) for one in limits])
    return next((one for one in limits if one.state.limit is limit), None)


def _waits_for(
    api_key: ApiKey, entry: CatalogueEntry, bound: Bound, short: Standing | None, now: datetime
) -> dict[str, Any] | None:
    """What would keep the job from starting, were a slot free; the line in front of it not counted."""
    project = api_key.project
    if project.paused_at is not None:
        return {"reason": "project_paused", "message": project.paused_reason}
    if short is not None:
        return {"reason": "budget", **short.as_sent()}
    queue = Queue.objects.filter(pk=queue_id(project.pk, entry.model.family)).first()
    if queue is not None and queue.waiting_on:
        return dict(queue.waiting_on)
    return _rate_limited(api_key, entry, bound, now)


def _rate_limited(api_key: ApiKey, entry: CatalogueEntry, bound: Bound, now: datetime) -> dict[str, Any] | None:
    organization = api_key.project.organization
    limits = rate_limit(standing(organization, now).tier.number, entry.model.family, organization.terms_date(now))
    if limits is None:
        return None
    try:
        room = limiter.room(limiter.account_of(access_of(api_key.project)), entry.model.family, limits)
    except limiter.LimiterAway:
        return {"reason": "limiter_unavailable"}
    seconds, limit = room.earliest(requests=1, tokens=bound.admission_tokens)
    if not seconds:
        return None
    return {"reason": "rate_limit", "limit": limit, "seconds": None if isinf(seconds) else round(seconds, 3)}
