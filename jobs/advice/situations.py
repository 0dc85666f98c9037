"""Finds out what the rules have to know of a call: its model, its price, what would be smaller, what came before."""

from collections import defaultdict
from datetime import date
from decimal import Decimal

from accounts.dated import in_force
from accounts.remembered import remembered
from billing.models import Price, ServiceTier
from billing.pricing import PriceTerms
from jobs.advice.advice import Situation, Smaller
from jobs.catalogue import CatalogueEntry
from jobs.learning.expectation import Expectation
from jobs.models import LanguageModel
from jobs.models.catalogue import Endpoint
from jobs.validation import PromptRequest

# A model is smaller by enough where its output costs no more than this part.
LARGEST_RATIO = Decimal("0.25")
# What the provider calls its small models; these are too large for nothing.
SMALL = ("-mini", "-nano")
# Advice may know of a model or a price somewhat later than a bill does.
SMALLER_SECONDS = 60.0


def situation_of(
    prompt: PromptRequest,
    entry: CatalogueEntry,
    price: PriceTerms,
    history: Expectation | None,
    *,
    tier: int,
    day: date,
) -> Situation:
    """What is known of a call that was validated. `tier`: the usage tier that its organization stands at."""
    model = entry.model
    return Situation(
        model=prompt.model,
        family=model.name,
        is_reasoning=model.is_reasoning,
        cap=prompt.cap,
        effort=prompt.parameters.get("reasoning_effort"),
        smaller=_smaller_than(model.name, tier, day) if model.is_reasoning else None,
        price=price,
        history=history,
    )


@remembered(SMALLER_SECONDS)
def _smaller_than(name: str, tier: int, day: date) -> Smaller | None:
    """The dearest model among those that cost a fraction of this one and that a tier may call on a day."""
    if name.endswith(SMALL):
        return None
    rows: dict[str, list[Price]] = defaultdict(list)
    for row in Price.objects.filter(service_tier=ServiceTier.STANDARD):
        rows[row.model].append(row)
    outputs = {
        model: price.output_usd_per_million
        for model, found in rows.items()
        if (price := in_force(found, day)) is not None
    }
    own = outputs.get(name)
    if not own:
        return None
    models = LanguageModel.objects.filter(
        released_on__lte=day, minimum_tier__lte=tier, endpoints__contains=[Endpoint.CHAT]
    ).order_by("name")
    ratios = [
        (outputs[model.name] / own, model.name)
        for model in models
        if model.name in outputs and not model.is_shut_down_on(day) and outputs[model.name] <= LARGEST_RATIO * own
    ]
    if not ratios:
        return None
    ratio, found_name = max(ratios)
    return Smaller(found_name, ratio)
