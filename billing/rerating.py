"""What-if: what calls of the past would have cost at other prices. Reads only, and has the database hold it to that.

The tokens come from the rollups, by day, model and service tier. A cost is a sum over tokens, so the cost of the sums
is the sum of the costs, to the last digit. Calls of a snapshot that is priced apart from its model are told from the
others by the price that their usage records name.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, F, Sum
from django.db.models.functions import TruncDate

from accounts.dated import in_force
from accounts.models import Organization, Project
from billing.models import Price, UsageRecord
from billing.models.rollups import SUMMED_TOKENS
from billing.price_files import PriceRow
from billing.price_imports import percent, stored_rows
from billing.pricing import EXACT, Tokens, cost
from billing.spend import rows_between

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """How the past is priced instead; what is not given stays as it was.

    `prices_of`: at the prices of this day, instead of those of each call's own. `service_tier`: in this tier. `models`:
    the tokens of a model as those of another; the name "" stands for every model that is not named. `price_file`: where
    it prices a model and service tier, its prices go before the stored ones.
    """

    prices_of: date | None = None
    service_tier: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    price_file: Sequence[PriceRow] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.prices_of or self.service_tier or self.models or self.price_file)

    def names_for(self, model: str, priced_as: str) -> list[str]:
        """The names under which to look for a price: another model's, or a snapshot's own before its model's."""
        other = self.models.get(model) or self.models.get("")
        return [other] if other else list(dict.fromkeys((priced_as, model)))

    @property
    def sentence(self) -> str:
        """For people: 'at the prices of 2026-11-22, in the batch tier'."""
        parts = [f"at the prices of {self.prices_of}"] if self.prices_of else []
        parts += [f"in the {self.service_tier} tier"] if self.service_tier else []
        parts += [f"with {model or 'every other model'} as {other}" for model, other in self.models.items()]
        parts += [f"with the {len(self.price_file)} prices of a file"] if self.price_file else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class PriceUsed:
    """A price that a line was rated at. `stands_in`: for days before it began, as the first of its kind does."""

    row: PriceRow
    is_of_file: bool
    stands_in: bool

    def __str__(self) -> str:
        origin = ", of the file" if self.is_of_file else ""
        early = ", its first price" if self.stands_in else ""
        return f"{self.row.model} {self.row.service_tier} from {self.row.effective_from}{origin}{early}"


@dataclass(slots=True)
class Amounts:
    """Calls, their tokens, and what they did cost."""

    calls: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    actual_usd: Decimal = ZERO

    def add(self, other: "Amounts", times: int = 1) -> None:
        with localcontext(EXACT):
            for each in fields(Amounts):
                setattr(self, each.name, getattr(self, each.name) + times * getattr(other, each.name))

    @property
    def tokens(self) -> Tokens:
        return Tokens.of(self)


@dataclass(frozen=True, slots=True)
class Line:
    """The calls of one model and service tier, and what they would have cost; None where no price is known.

    `priced_as` is the model, or its snapshot where the calls were priced as that.
    """

    model: str
    priced_as: str
    service_tier: str
    amounts: Amounts
    what_if_usd: Decimal | None
    prices: tuple[PriceUsed, ...] = ()
    unknown: str = ""

    @property
    def difference_usd(self) -> Decimal | None:
        return None if self.what_if_usd is None else self.what_if_usd - self.amounts.actual_usd

    @property
    def percent(self) -> Decimal | None:
        return None if self.what_if_usd is None else percent(self.amounts.actual_usd, self.what_if_usd)


@dataclass(frozen=True, slots=True)
class Report:
    """The lines, the dearest first, and their sums. Corrections booked by hand are no calls, and not in it."""

    organization: Organization
    project: Project | None
    start: date
    end: date  # exclusive
    scenario: Scenario
    lines: list[Line]

    @property
    def unknown(self) -> list[Line]:
        return [line for line in self.lines if line.what_if_usd is None]

    @property
    def total(self) -> Line:
        """Over the lines whose price is known: what cannot be compared is left out on both sides."""
        return self._sum([line for line in self.lines if line.what_if_usd is not None])

    @property
    def unknown_total(self) -> Line:
        """Over the other lines: what they did cost."""
        return self._sum(self.unknown)

    def _sum(self, lines: Sequence[Line]) -> Line:
        amounts, what_if = Amounts(), ZERO
        with localcontext(EXACT):
            for line in lines:
                amounts.add(line.amounts)
                what_if += line.what_if_usd or ZERO
        return Line("", "", "", amounts, what_if)


def rerate(organization: Organization, project: Project | None, start: date, end: date, scenario: Scenario) -> Report:
    """What the calls booked from `start` up to, and not including, `end` (UTC) would have cost in the scenario.

    Without a day in the scenario each call is priced by the organization's terms: those of its agreed date, else of the
    call's own day. Runs in a transaction that the database lets read only.
    """
    owner = {"organization": organization, **({"project": project} if project else {})}
    with read_only():
        prices = _Prices(stored_rows(Price.objects.all()), scenario.price_file)
        by_day = _amounts_by_day(owner, start, end)
    terms_on = scenario.prices_of or organization.terms_on
    groups: dict[tuple[str, str, str], dict[PriceUsed | None, Amounts]] = {}
    for (model, priced_as, tier, day), amounts in by_day.items():
        names = scenario.names_for(model, priced_as)
        price = prices.find(names, scenario.service_tier or tier, terms_on or day)
        groups.setdefault((model, priced_as, tier), {}).setdefault(price, Amounts()).add(amounts)
    lines = [_line(key, rated, scenario) for key, rated in groups.items()]
    lines.sort(key=lambda line: (-line.amounts.actual_usd, line.model, line.priced_as, line.service_tier))
    return Report(organization, project, start, end, scenario, lines)


@contextmanager
def read_only() -> Iterator[None]:
    """A transaction in which the database refuses every write; within another one, up to its own end.

    On its own it also sees all rows as they were at one instant.
    """
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        with connection.cursor() as cursor:
            isolation = "ISOLATION LEVEL REPEATABLE READ, " if outermost else ""
            cursor.execute(f"SET TRANSACTION {isolation}READ ONLY")
        yield


class _Prices:
    """The prices by model and service tier; those of a file go before the stored ones."""

    def __init__(self, stored: Sequence[PriceRow], of_file: Sequence[PriceRow]):
        self._stored, self._of_file = _by_name(stored), _by_name(of_file)

    def find(self, names: Sequence[str], service_tier: str, day: date) -> PriceUsed | None:
        """The price in force on a day under the first name that has one; None where none has."""
        for name in names:
            for rows in (self._of_file, self._stored):
                row = in_force(rows.get((name, service_tier), ()), day)
                if row is not None:
                    return PriceUsed(row, rows is self._of_file, row.effective_from > day)
        return None


def _by_name(rows: Sequence[PriceRow]) -> dict[tuple[str, str], list[PriceRow]]:
    found: dict[tuple[str, str], list[PriceRow]] = {}
    for row in rows:
        found.setdefault((row.model, row.service_tier), []).append(row)
    return found


# --- What was used ----------------------------------------------------------------------------------------------------
# Model, the name that it was priced under, service tier, day.
Key = tuple[str, str, str, date]


def _amounts_by_day(owner: Mapping[str, Any], start: date, end: date) -> dict[Key, Amounts]:
    sums = {name: Sum(name) for name in SUMMED_TOKENS}
    rolled_up = (
        rows_between(start, end, ("day", "model", "service_tier"), **owner)
        .order_by()
        .values("model", "service_tier", "day")
        .annotate(calls=Sum("calls"), actual_usd=Sum("total_usd"), **sums)
    )
    found = {(row["model"], row["model"], row["service_tier"], row["day"]): _amounts(row) for row in rolled_up}
    for (model, priced_as, tier, day), amounts in _of_snapshots(owner, start, end).items():
        found[model, model, tier, day].add(amounts, times=-1)
        found[model, priced_as, tier, day] = amounts
    return {key: amounts for key, amounts in found.items() if amounts.calls}


# Steps through the usage records' index on their price from one price to the next, however many records there are. A
# name is a model's or a snapshot's and never both, so that one record of a price tells which it is.
_PRICES_OF_SNAPSHOTS = f"""
    WITH RECURSIVE used AS (
        SELECT min(price_id) AS price_id FROM {UsageRecord._meta.db_table}
        UNION ALL
        SELECT (SELECT min(price_id) FROM {UsageRecord._meta.db_table} WHERE price_id > used.price_id)
        FROM used WHERE used.price_id IS NOT NULL
    )
    SELECT price.id
    FROM used
    JOIN {Price._meta.db_table} price ON price.id = used.price_id
    CROSS JOIN LATERAL (
        SELECT model FROM {UsageRecord._meta.db_table} WHERE price_id >= used.price_id ORDER BY price_id LIMIT 1
    ) one
    WHERE one.model <> price.model
"""  # noqa: S608  # names of tables only


def _of_snapshots(owner: Mapping[str, Any], start: date, end: date) -> dict[Key, Amounts]:
    """The part of it that was priced under a snapshot's name; found by the few prices that bear such a name."""
    with connection.cursor() as cursor:
        cursor.execute(_PRICES_OF_SNAPSHOTS)
        of_snapshots = [price_id for (price_id,) in cursor.fetchall()]
    if not of_snapshots:
        return {}
    rows = (
        UsageRecord.objects.filter(
            **owner, price__in=of_snapshots, booked_at__gte=_midnight(start), booked_at__lt=_midnight(end)
        )
        .order_by()
        .values("model", "service_tier", priced_as=F("price__model"), day=TruncDate("booked_at", tzinfo=UTC))
        .annotate(calls=Count("pk"), actual_usd=Sum("total_usd"), **{name: Sum(name) for name in SUMMED_TOKENS})
    )
    return {(row["model"], row["priced_as"], row["service_tier"], row["day"]): _amounts(row) for row in rows}


def _amounts(row: Mapping[str, Any]) -> Amounts:
    return Amounts(**{each.name: row[each.name] for each in fields(Amounts)})


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _line(key: tuple[str, str, str], rated: Mapping[PriceUsed | None, Amounts], scenario: Scenario) -> Line:
    model, priced_as, tier = key
    amounts, what_if, prices = Amounts(), ZERO, []
    for price, part in rated.items():
        amounts.add(part)
        if price is not None:
            with localcontext(EXACT):
                what_if += cost(part.tokens, price.row.terms).total_usd
            prices.append(price)
    if None in rated:
        names = " or ".join(scenario.names_for(model, priced_as))
        return Line(*key, amounts, None, unknown=f"no {scenario.service_tier or tier} price of {names} is known")
    prices.sort(key=lambda price: price.row.effective_from)
    return Line(*key, amounts, what_if, tuple(prices))
