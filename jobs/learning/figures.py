"""The learnt distributions as people and programs read them: one row a kind of call."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from uuid import UUID

from django.db.models import QuerySet

from accounts.remembered import remembered
from billing.errors import UnknownPrice
from billing.models import ServiceTier
from billing.prices import price_on, terms_of
from billing.pricing import PriceTerms
from billing.reach import Reach
from jobs import catalogue
from jobs.learning.curves import Curve
from jobs.learning.expectation import Expectation
from jobs.learning.levels import P50, P90, P99, Learnt, level_of
from jobs.models import Distribution

SHARES = (("p50", P50), ("p90", P90), ("p99", P99))
RISK = Decimal("0.01")
# Where two bars of a picture meet; a bar holds what needs more than the end before it and no more than its own.
ENDS = [2**power for power in range(5, 18)]


@dataclass(frozen=True)
class Figures:
    """One distribution. `price`: at which its mean cost is told, standard and of today; None where none is known."""

    row: Distribution
    price: PriceTerms | None

    @cached_property
    def learnt(self) -> Learnt:
        return Learnt.of(level_of(self.row), self.row)

    @cached_property
    def expectation(self) -> Expectation:
        return self.learnt.expectation(self.price or PriceTerms(Decimal(0), Decimal(0), Decimal(0)))

    @property
    def curves(self) -> dict[str, Curve]:
        return {
            "completion": self.learnt.completion,
            "reasoning": self.learnt.reasoning,
            "visible": self.learnt.visible,
        }

    @property
    def means(self) -> dict[str, Decimal]:
        of = self.expectation
        return {
            "completion": of.mean_reasoning_tokens + of.mean_visible_tokens,
            "reasoning": of.mean_reasoning_tokens,
            "visible": of.mean_visible_tokens,
        }

    @property
    def mean_cost_usd(self) -> Decimal | None:
        return self.expectation.mean_cost_usd if self.price else None

    def quantiles(self, curve: Curve) -> dict[str, int | None]:
        """Tokens of each share; None where too few calls are known to say, or all that are known were cut off."""
        return {name: curve.known_at(share) for name, share in SHARES}

    def recommended_cap(self, risk: Decimal = RISK) -> int | None:
        """The cap for a risk; None where no smaller one than all that the model can make is known to keep it."""
        cap = self.expectation.cap_for(risk)
        return cap if cap < self.learnt.completion.ceiling else None

    def bars(self, name: str) -> list[Decimal]:
        """The share of calls in each bar of the picture."""
        return list(self.curves[name].shares_between(ENDS))


def distributions(
    reach: Reach, *, model: str | None = None, effort: str | None = None, project_id: UUID | None = None
) -> QuerySet[Distribution]:
    """The rows within reach, those of most calls first; the organization's own only for who sees all of it."""
    rows = Distribution.objects.filter(organization=reach.organization_id)
    if reach.projects is not None:
        rows = rows.filter(project__in=reach.projects)
    if model is not None:
        rows = rows.filter(model=model)
    if effort is not None:
        rows = rows.filter(reasoning_effort=effort)
    if project_id is not None:
        rows = rows.filter(project=project_id)
    return rows.select_related("project").order_by("-calls", "model", "reasoning_effort", "prompt_class", "pk")


def figures_of(rows: Sequence[Distribution], day: date) -> list[Figures]:
    """The figures of rows, at the standard prices of a day."""
    return [Figures(row, _price(row.model, day)) for row in rows]


@remembered()
def _price(model: str, day: date) -> PriceTerms | None:
    entry = catalogue.find(model)
    if entry is None:
        return None
    try:
        return terms_of(price_on(catalogue.provider_price_names(entry), ServiceTier.STANDARD, day))
    except UnknownPrice:
        return None
