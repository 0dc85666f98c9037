"""Our side of the comparison: usage records and open reservations of an account, by cell. Reads, and writes nothing.

A call is counted on the UTC day on which it was dispatched, whenever it was booked; corrections are not calls.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, F, Max, QuerySet, Sum
from django.db.models.functions import TruncDate

from accounts.models import Project
from accounts.provider_accounts import ProviderAccount
from billing.models import Price, Reservation, UsageRecord
from billing.models.budgets import ReservationStatus
from billing.prices import terms_of
from billing.pricing import PriceTerms
from billing.reconciliation.figures import Cell, Figures, KnownPrice, OpenCalls, Ours, OverMidnight, Tiered

DAY = timedelta(days=1)
# A day's calls over midnight that are looked at one by one; of more, those that ended last.
MOST_OVER_MIDNIGHT = 5000
LONGEST_CALL = timedelta(hours=1)
_FIGURES = {
    "requests": Count("pk"),
    "input": Sum("input_tokens"),
    "cached": Sum("cached_input_tokens"),
    "output": Sum("output_tokens"),
    "usd": Sum("total_usd"),
}


@dataclass(frozen=True, slots=True)
class Projects:
    """Which projects of ours call as which project of the provider.

    Calls of those that name none are counted under a project that only the provider knows. So they are compared, as
    the project '', with all that it bills for projects which none of ours names.
    """

    ours: Mapping[str, tuple[Project, ...]]

    def compared_as(self, provider_project: str) -> str:
        """As which project one of the provider's is compared."""
        return "" if "" in self.ours and provider_project not in self.ours else provider_project

    @property
    def of_ours(self) -> dict[UUID, str]:
        """The provider's project of each of ours, by our id."""
        return {project.pk: name for name, projects in self.ours.items() for project in projects}


def projects_of(account: ProviderAccount) -> Projects:
    """All projects of an account."""
    rows = Project.objects.filter(organization__in=account.organizations)
    found: dict[str, tuple[Project, ...]] = {}
    for project in rows.select_related("organization__provider_credential").order_by("pk"):
        # The environment's project goes with the environment's key alone.
        others = "" if hasattr(project.organization, "provider_credential") else settings.OPENAI_PROJECT_ID
        name = project.provider_project_id or others
        found[name] = (*found.get(name, ()), project)
    return Projects(found)


def cells_between(
    account: ProviderAccount, projects: Projects, first_day: date, end_day: date, billed_models: Iterable[str]
) -> dict[Cell, Ours]:
    """What our records have of each cell, for calls dispatched from `first_day` up to, not including, `end_day`.

    A call whose outcome is open does not know yet which snapshot answers it: that of the records or of the bill counts.
    """
    names = projects.of_ours
    start, end = _midnight(first_day), _midnight(end_day)
    records = UsageRecord.objects.filter(
        organization__in=account.organizations,
        dispatched_at__gte=start,
        dispatched_at__lt=end,
        booked_at__gte=start,  # never before the dispatch, and what the index has
    )
    found: dict[Cell, Ours] = {}
    snapshots = {_alias(model): model for model in billed_models}
    for row in _by_cell(records):
        cell = Cell(row["day"], names[row["project_id"]], row["snapshot"] or row["model"])
        snapshots[row["model"]] = cell.model
        found[cell] = _with_billed(found.get(cell, Ours()), row)
    for cell, calls in _over_midnight(records, names).items():
        found[cell] = replace(found[cell], over_midnight=calls)
    for cell, waiting in _open_calls(account, names, snapshots, start, end).items():
        found[cell] = replace(found.get(cell, Ours()), open_calls=waiting)
    return found


def known_prices(model: str) -> list[KnownPrice]:
    """The rows of our price list for a model or, if it is a snapshot, its alias; the newest first."""
    names = {model, _alias(model)}
    rows = Price.objects.filter(model__in=names).order_by("-effective_from", "service_tier", "model")
    return [KnownPrice(str(row), row.service_tier, terms_of(row)) for row in rows]


def _alias(model: str) -> str:
    """A snapshot's name without its date: o1-mini-2024-09-12 is one of o1-mini."""
    name, parts = model, model.rsplit("-", 3)
    if len(parts) == 4 and [len(part) for part in parts[1:]] == [4, 2, 2] and all(map(str.isdecimal, parts[1:])):
        name = parts[0]
    return name


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _by_cell(records: "QuerySet[UsageRecord]") -> Iterable[dict[str, Any]]:
    """Sums of the records by all that a cell and its prices are made of; the last price of each in the end."""
    of_price = ("input_usd_per_million", "cached_input_usd_per_million", "output_usd_per_million")
    rows: Iterable[dict[str, Any]] = (
        records.annotate(day=TruncDate("dispatched_at", tzinfo=UTC))
        .order_by()
        .values("day", "project_id", "model", "snapshot", "service_tier", *of_price)
        .annotate(**_FIGURES, last=Max("dispatched_at"))
        .order_by("last")
    )
    return rows


def _with_billed(mine: Ours, row: Mapping[str, Any]) -> Ours:
    tier = str(row["service_tier"])
    figures = mine.billed.tiers.get(tier, Figures()) + _figures(row)
    terms = PriceTerms(row["input_usd_per_million"], row["cached_input_usd_per_million"], row["output_usd_per_million"])
    return replace(
        mine,
        billed=Tiered({**mine.billed.tiers, tier: figures}, mine.billed.usd + row["usd"]),
        prices={**mine.prices, tier: terms},
    )


def _figures(row: Mapping[str, Any]) -> Figures:
    return Figures(int(row["requests"]), int(row["input"]), int(row["cached"]), int(row["output"]))


def _over_midnight(records: "QuerySet[UsageRecord]", names: Mapping[UUID, str]) -> dict[Cell, tuple[OverMidnight, ...]]:
    """Calls that were booked on a day after that of their dispatch, in the order in which they ended."""
    day = TruncDate("dispatched_at", tzinfo=UTC)
    rows = (
        records.annotate(day=day, end=TruncDate("recorded_at", tzinfo=UTC))
        .filter(end__gt=F("day"), recorded_at__lt=F("dispatched_at") + LONGEST_CALL)
        .order_by("-recorded_at")[:MOST_OVER_MIDNIGHT]
    )
    found: dict[Cell, tuple[OverMidnight, ...]] = {}
    for row in reversed(rows):
        cell = Cell(row.day, names[row.project_id], row.snapshot or row.model)
        figures = Figures(1, row.input_tokens, row.cached_input_tokens, row.output_tokens)
        found[cell] = (*found.get(cell, ()), OverMidnight(row.service_tier, figures, row.total_usd))
    return found


def _open_calls(
    account: ProviderAccount, names: Mapping[UUID, str], snapshots: Mapping[str, str], start: datetime, end: datetime
) -> dict[Cell, OpenCalls]:
    """Calls whose outcome is open, under the snapshot that their model's name stands for."""
    rows = (
        Reservation.objects.filter(
            organization__in=account.organizations,
            project__in=list(names),
            status=ReservationStatus.OPEN,
            reserved_at__gte=start,
            reserved_at__lt=end,
        )
        .annotate(day=TruncDate("reserved_at", tzinfo=UTC))
        .order_by()
        .values("day", "project_id", "model")
        .annotate(count=Count("pk"), input=Sum("input_tokens"), output=Sum("output_tokens"), usd=Sum("amount_usd"))
    )
    found: dict[Cell, OpenCalls] = {}
    for row in rows:
        cell = Cell(row["day"], names[row["project_id"]], snapshots.get(row["model"], row["model"]))
        before = found.get(cell, OpenCalls())
        found[cell] = OpenCalls(
            before.count + row["count"],
            before.input + row["input"],
            before.output + row["output"],
            before.usd + row["usd"],
        )
    return found
