"""What is usual in a project's month: how long answers are, and which cheaper model answers like prompts as often."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from accounts.models import Project
from billing.errors import UnknownPrice
from billing.prices import price_on, terms_of
from billing.pricing import PriceTerms
from jobs import catalogue
from jobs.models import LanguageModel
from jobs.waste.reckoning import LEAST_ALIKE, MILLION, Cheaper, PaidCall, Usual

# A successor may have one of its own, and so on; the catalogue's longest chain is shorter.
MOST_SUCCESSORS = 10


@dataclass(slots=True)
class Alike:
    """Calls of one model and service tier for prompts of one kind."""

    calls: int = 0
    answered: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0

    def add(self, call: PaidCall) -> None:
        self.calls += 1
        self.answered += not (call.is_beside or call.is_empty or call.is_refused)
        self.input_tokens += call.input_tokens
        self.cached_input_tokens += call.cached_input_tokens
        self.output_tokens += call.output_tokens

    def cost(self, price: PriceTerms) -> Decimal:
        uncached = self.input_tokens - self.cached_input_tokens
        return (
            uncached * price.input + self.cached_input_tokens * price.cached_input + self.output_tokens * price.output
        ) / MILLION

    def answers_as_often_as(self, other: "Alike") -> bool:
        enough = min(self.calls, other.calls) >= LEAST_ALIKE
        return enough and self.answered * other.calls >= other.answered * self.calls


Key = tuple[str, str, str]  # model, service tier, kind of prompt


def usual_of(project: Project, calls: Iterable[PaidCall], now: datetime) -> Usual:
    """Learnt from all calls of the month; prices as they are now."""
    visible: dict[tuple[str, UUID | None], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    alike: dict[Key, Alike] = defaultdict(Alike)
    for call in calls:
        alike[call.model, call.service_tier, call.kind].add(call)
        if call.visible_tokens > 0 and not (call.is_beside or call.is_empty or call.is_refused):
            visible[call.model, None][call.visible_tokens] += 1
            if call.prefix:
                visible[call.model, call.prefix][call.visible_tokens] += 1
    medians = {key: _median(counts) for key, counts in visible.items() if sum(counts.values()) >= LEAST_ALIKE}
    return Usual(medians, _cheaper(alike, _Prices(project.organization.terms_date(now))))


def _median(counts: dict[int, int]) -> int:
    """The lower one of the two in the middle."""
    left = (sum(counts.values()) + 1) // 2
    for tokens in sorted(counts):
        left -= counts[tokens]
        if left <= 0:
            return tokens
    raise ValueError("nothing has no median")


class _Prices:
    """What models cost on a day, each asked for once."""

    def __init__(self, day: date):
        self.day = day
        self._known: dict[tuple[str, str], PriceTerms | None] = {}

    def of(self, model: str, service_tier: str) -> PriceTerms | None:
        if (model, service_tier) not in self._known:
            self._known[model, service_tier] = self._read(model, service_tier)
        return self._known[model, service_tier]

    def _read(self, model: str, service_tier: str) -> PriceTerms | None:
        entry = catalogue.find(model)
        if entry is None or entry.is_shut_down_on(self.day):
            return None
        try:
            return terms_of(price_on(catalogue.provider_price_names(entry), service_tier, self.day))
        except UnknownPrice:
            return None


def _cheaper(alike: dict[Key, Alike], prices: _Prices) -> dict[Key, Cheaper]:
    """For each kind of call, the model that would be the cheapest at the same tokens; those that have one."""
    of_kind: dict[tuple[str, str], dict[str, Alike]] = defaultdict(dict)
    for (model, tier, kind), calls in alike.items():
        of_kind[tier, kind][model] = calls
    successors = {model: list(_successors(model, prices.day)) for model, _, _ in alike}
    found = {}
    for (model, tier, kind), calls in alike.items():
        would_do = dict.fromkeys(successors[model], "successor")
        for other, others in of_kind[tier, kind].items():
            if other != model and others.answers_as_often_as(calls):
                would_do.setdefault(other, "used alike")
        own = prices.of(model, tier)
        costs = [
            (calls.cost(price), other, because, price)
            for other, because in would_do.items()
            if (price := prices.of(other, tier)) is not None
        ]
        cheapest = min(costs, key=lambda each: (each[0], each[1]), default=None)
        if cheapest is not None and (own is None or cheapest[0] < calls.cost(own)):
            found[model, tier, kind] = Cheaper(cheapest[1], cheapest[2], cheapest[3])
    return found


def _successors(model: str, day: date) -> Iterator[str]:
    """The model that replaces another by the catalogue, and the one after it, as far as they can be called."""
    name = model
    for _ in range(MOST_SUCCESSORS):
        entry = catalogue.find(name)
        if entry is None or not entry.model.successor:
            return
        name = entry.model.successor
        row = LanguageModel.objects.filter(name=name).first()
        if row is not None and row.released_on <= day and not row.is_shut_down_on(day):
            yield name
