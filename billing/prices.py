"""Which price is in force."""

from collections.abc import Sequence
from datetime import date

from accounts.dated import in_force
from billing.errors import UnknownPrice
from billing.models import Price
from billing.pricing import PriceTerms


def price_on(names: Sequence[str], service_tier: str, day: date) -> Price:
    """The price in force on a day under the first of the names that has one: a snapshot's own before its model's.

    Raises UnknownPrice when none has: a call of unknown price is refused, never $0.
    """
    rows = list(Price.objects.filter(model__in=names, service_tier=service_tier))
    for name in names:
        price = in_force([row for row in rows if row.model == name], day)
        if price is not None:
            return price
    raise UnknownPrice(
        f"There is no {service_tier} price for model '{names[0]}', so the job is refused: no call is free. "
        "An administrator can add the price under Billing > Prices.",
        param="service_tier" if service_tier != "standard" else "model",
    )


def terms_of(price: Price) -> PriceTerms:
    return PriceTerms.of(price)
