"""What each model of the catalogue is to one project: whether it may use it, at what price, under which rate limits."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from accounts.dated import in_force
from accounts.models import Project, RateLimit, UsageTier
from accounts.tiers import Standing, standing, tiers_on
from billing.errors import UnknownPrice
from billing.models import Price, ServiceTier
from jobs.background.choice import runs_in_background
from jobs.catalogue import CatalogueEntry
from jobs.credentials import Access, access_of
from jobs.errors import RateLimitUnknown
from jobs.models import LanguageModel
from jobs.validation import PromptRequest, RequestRejected, validate

# Any model takes it, so that what is refused is the model and not the prompt.
_SMALLEST_PROMPT = [{"role": "user", "content": "1"}]


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a job on the model would be taken; if not, the code and the words of its refusal."""

    usable: bool
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A model, the terms of the organization for it, and whether it is available. Prices by service tier."""

    model: LanguageModel
    availability: Availability
    prices: Mapping[ServiceTier, Price]
    rate_limits: RateLimit | None


def offers_to(project: Project, now: datetime) -> list[Offer]:
    """Every model of the catalogue by name, in a number of queries that does not grow with the catalogue."""
    organization = project.organization
    day = organization.terms_date(now)
    stands, tiers = standing(organization, now), tiers_on(day)
    access = access_of(project)
    prices, limits = _prices_on(day), _rate_limits_on(day, stands.tier.number)
    return [
        Offer(
            model,
            _availability(
                model,
                prices[model.name],
                limits.get(model.family),
                stands=stands,
                tiers=tiers,
                day=day,
                access=access,
            ),
            prices[model.name],
            limits.get(model.family),
        )
        for model in LanguageModel.objects.prefetch_related("snapshots").order_by("name")
    ]


def _availability(
    model: LanguageModel,
    prices: Mapping[ServiceTier, Price],
    rate_limits: RateLimit | None,
    *,
    stands: Standing,
    tiers: Mapping[int, UsageTier],
    day: date,
    access: Access,
) -> Availability:
    prompt = PromptRequest(model=model.name, messages=_SMALLEST_PROMPT, parameters={})
    try:
        validate(
            prompt,
            CatalogueEntry(model),
            standing=stands,
            tiers=tiers,
            day=day,
            serves_shut_down_models=access.serves_shut_down_models,
            in_background=runs_in_background(model, access.base_url),
        )
    except RequestRejected as error:
        return Availability(False, error.code, error.message)
    if not prices:
        return Availability(False, UnknownPrice.code, f"There is no price for model '{model.name}'.")
    if rate_limits is None:
        message = f"No rate limit is known for model '{model.name}' at usage tier {stands.tier.number}."
        return Availability(False, RateLimitUnknown.code, message)
    return Availability(True)


def _prices_on(day: date) -> Mapping[str, Mapping[ServiceTier, Price]]:
    rows: dict[tuple[str, str], list[Price]] = defaultdict(list)
    for price in Price.objects.all():
        rows[price.model, price.service_tier].append(price)
    found: dict[str, dict[ServiceTier, Price]] = defaultdict(dict)
    for tier in ServiceTier:  # in its order, so that standard comes first
        for (model, service_tier), candidates in rows.items():
            price_row = in_force(candidates, day) if service_tier == tier else None
            if price_row is not None:
                found[model][tier] = price_row
    return found


def _rate_limits_on(day: date, tier: int) -> Mapping[str, RateLimit]:
    rows: dict[str, list[RateLimit]] = defaultdict(list)
    for row in RateLimit.objects.filter(tier=tier):
        rows[row.model].append(row)
    return {model: limit for model, candidates in rows.items() if (limit := in_force(candidates, day)) is not None}
