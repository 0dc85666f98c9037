"""The provider's bill in plain values, as whoever fetched it hands it over, and as it is compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext

from billing.reconciliation.figures import NOTHING, ZERO, Cell, Figures, Tiered


@dataclass(frozen=True, slots=True)
class BilledUsage:
    """Requests and tokens of a UTC day. `provider_project` is '' where the provider names none."""

    day: date
    provider_project: str
    model: str
    service_tier: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class BilledCost:
    """US dollars of a UTC day; `model` is the model, or the name of whatever else was billed."""

    day: date
    provider_project: str
    model: str
    usd: Decimal


@dataclass(frozen=True, slots=True)
class ProviderBill:
    usage: Sequence[BilledUsage]
    costs: Sequence[BilledCost]


def cells_of(bill: ProviderBill, project_of: Callable[[str], str]) -> dict[Cell, Tiered]:
    """The bill by cell; `project_of` says as which project a project of the provider is compared."""
    tiers: dict[Cell, dict[str, Figures]] = {}
    for used in bill.usage:
        mine = tiers.setdefault(Cell(used.day, project_of(used.provider_project), used.model), {})
        mine[used.service_tier] = mine.get(used.service_tier, NOTHING) + used.figures
    usd: dict[Cell, Decimal] = {}
    with localcontext() as context:
        context.prec = 60  # texts of many digits are added as they are
        for cost in bill.costs:
            cell = Cell(cost.day, project_of(cost.provider_project), cost.model)
            usd[cell] = usd.get(cell, ZERO) + cost.usd
    return {cell: Tiered(tiers.get(cell, {}), usd.get(cell, ZERO)) for cell in {**tiers, **usd}}
