"""What a price file would change, and the change itself: exactly what the preview showed, all of it or nothing.

A stored price is never edited in place. One that no reservation or usage record used yet may be replaced by another
row, so that a call that is being reserved at the old figures meanwhile loses its price and is reserved anew. One that
was used stays: the past's price is not rewritten.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models, transaction
from django.db.models import Exists, OuterRef

from accounts import audit
from accounts.audit import Who
from accounts.models import AuditAction, Organization, User
from billing.clock import database_now
from billing.models import Price, Reservation, UsageRecord
from billing.money import usd
from billing.price_files import PriceRow
from billing.prices import terms_of
from billing.pricing import PriceTerms


class Outcome(models.TextChoices):
    """What becomes of one price of a file."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Step:
    """One price of a file beside the stored ones.

    `before` is the stored price of the same model, service tier and day. The price is in force from its day until the
    day `until` on which the next begins (None: none is known), and comes after `predecessor`; without one it is the
    first, and stands for the time before it too. `calls` is how many calls in that time were reserved at other figures,
    which they keep.
    """

    row: PriceRow
    outcome: Outcome
    before: Price | None
    predecessor: PriceRow | None
    until: date | None
    calls: int = 0

    @property
    def compared(self) -> list[tuple[Decimal | None, Decimal, Decimal | None]]:
        """Input, cached input, output, input to the cache: what it was, is in the file, the difference in per cent.

        Compared with the row that it replaces, else with the one that it comes after.
        """
        old = terms_of(self.before) if self.before else self.predecessor.terms if self.predecessor else None
        new = self.row.terms
        if old is None:
            return [(None, figure, None) for figure in _all(new)]
        return [(was, becomes, percent(was, becomes)) for was, becomes in zip(_all(old), _all(new), strict=True)]

    @property
    def note(self) -> str:
        """What somebody should know before it is applied; empty where there is nothing."""
        if self.outcome == Outcome.REFUSED:
            return (
                "This price was used: reservations or usage records name it. The past's price is not rewritten; "
                "give the new figures a later effective_from instead, or remove the line."
            )
        if self.calls:
            since = f"since {self.row.effective_from}" if self.predecessor else f"before {self.until or 'now'}"
            return (
                f"{self.calls:,} calls {since} were reserved at other figures. They keep the price they were held at."
            )
        if self.outcome == Outcome.NEW and self.predecessor is None and self.until is None:
            return "The first price of this model and service tier: look at the spelling."
        return ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file would do, and the digest by which one says that this is what shall be done."""

    steps: list[Step]

    def of(self, *outcomes: Outcome) -> list[Step]:
        return [step for step in self.steps if step.outcome in outcomes]

    @property
    def counts(self) -> dict[Outcome, int]:
        return {outcome: len(self.of(outcome)) for outcome in Outcome}

    @property
    def may_be_applied(self) -> bool:
        """All or nothing: not while a line of it is refused, and not where nothing would change."""
        return not self.of(Outcome.REFUSED) and bool(self.of(Outcome.NEW, Outcome.CHANGED))

    @property
    def digest(self) -> str:
        """Over the file's prices and the stored ones that the preview showed. Calls go on and are not part of it."""
        said = [
            [
                _said(step.row),
                step.outcome,
                step.before and [step.before.pk, *_said(row_of(step.before))],
                step.predecessor and _said(step.predecessor),
                step.until and step.until.isoformat(),
            ]
            for step in self.steps
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


class PreviewOutdated(Exception):
    """Prices changed since the preview; nothing was applied. Look at the preview that this brings."""

    def __init__(self, plan: Plan):
        self.plan = plan
        super().__init__("Prices changed since the preview, so nothing was applied. Look at the new preview.")


class ImportRefused(Exception):
    """The plan has refused lines, or changes nothing; nothing was applied."""

    def __init__(self, plan: Plan):
        self.plan = plan
        refused = len(plan.of(Outcome.REFUSED))
        why = f"{refused} of its lines are refused" if refused else "it changes no price"
        super().__init__(f"The file was not applied: {why}.")


def preview(rows: Sequence[PriceRow]) -> Plan:
    """What these prices would change. Changes nothing."""
    return _plan(rows, _stored(rows))


@transaction.atomic
def apply(rows: Sequence[PriceRow], digest: str, *, actor: User | None, origin: str, by: Who | None = None) -> Plan:
    """Does what the preview with this digest showed; with an actor it is noted in the history of each price.

    `origin` says where the prices came from, for the history. Raises PreviewOutdated where the preview would be another
    one by now, ImportRefused where a line is refused or nothing changes; then nothing is done.
    """
    with connection.cursor() as cursor:
        # Other writers of prices wait; readers, and calls being reserved, do not.
        cursor.execute(f"LOCK TABLE {Price._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
    stored = _stored(rows)
    changed = [before.pk for row in rows if (before := stored.get(row.key)) and terms_of(before) != row.terms]
    # Whoever is reserving at one of these commits before, and is seen below, or comes after and finds it gone.
    list(Price.objects.select_for_update().filter(pk__in=changed).order_by("pk"))
    plan = _plan(rows, stored)
    if plan.digest != digest:
        raise PreviewOutdated(plan)
    if not plan.may_be_applied:
        raise ImportRefused(plan)
    steps = plan.of(Outcome.NEW, Outcome.CHANGED)
    Price.objects.filter(pk__in=[step.before.pk for step in steps if step.before]).delete()
    prices = Price.objects.bulk_create(_price_of(step.row) for step in steps)
    if actor is not None:
        _note(actor, steps, prices, origin)
    _record(steps, by or Who(user=actor), origin)
    return plan


def _record(steps: Sequence[Step], by: Who, origin: str) -> None:
    """One entry: the import is one act, whatever number of prices it changes."""
    audit.record(
        AuditAction.UPDATED,
        "price_import",
        "",
        by=by,
        organization_id=None,
        name=origin,
        before={_key(step): _amounts(terms_of(step.before)) for step in steps if step.before},
        after={_key(step): _amounts(step.row.terms) for step in steps},
    )


def _key(step: Step) -> str:
    return f"{step.row.model} {step.row.service_tier} from {step.row.effective_from}"


def _amounts(terms: PriceTerms) -> list[str]:
    """Input, cached input, output and input to the cache, in US dollars per million tokens."""
    return [usd(figure) for figure in _all(terms)]


def _all(terms: PriceTerms) -> tuple[Decimal, ...]:
    return terms.input, terms.cached_input, terms.output, terms.written


def row_of(price: Price) -> PriceRow:
    """A stored price as a file says it."""
    return PriceRow(price.model, price.service_tier, terms_of(price), price.effective_from, price.source)


def stored_rows(prices: Iterable[Price] | None = None) -> list[PriceRow]:
    """All stored prices, or these, as a file says them."""
    found = Price.objects.order_by("model", "service_tier", "effective_from") if prices is None else prices
    return [row_of(price) for price in found]


def percent(before: Decimal, after: Decimal) -> Decimal | None:
    """By how much per cent an amount changes, to a tenth; None from nothing to something."""
    if not before:
        return None if after else Decimal(0)
    return ((after - before) * 100 / before).quantize(Decimal("0.1"))


# --- The plan ---------------------------------------------------------------------------------------------------------
Stored = Mapping[tuple[str, str, date], Price]


def _stored(rows: Sequence[PriceRow]) -> Stored:
    """The stored prices of the models in the file."""
    found = Price.objects.filter(model__in={row.model for row in rows})
    return {(price.model, price.service_tier, price.effective_from): price for price in found}


def _plan(rows: Sequence[PriceRow], stored: Stored) -> Plan:
    changed = [price.pk for row in rows if (price := stored.get(row.key)) and terms_of(price) != row.terms]
    used = _used(changed)
    kept = [row_of(price) for price in stored.values()]
    # Those that are refused leave the stored ones in force.
    taken = [row for row in rows if _outcome(row, stored.get(row.key), used) != Outcome.REFUSED]
    series: dict[tuple[str, str], dict[date, PriceRow]] = {}
    for row in [*kept, *taken]:
        series.setdefault((row.model, row.service_tier), {})[row.effective_from] = row
    days = {name: sorted(found) for name, found in series.items()}
    steps = []
    for row in rows:
        name, before = (row.model, row.service_tier), stored.get(row.key)
        place = days[name].index(row.effective_from)
        earlier, later = days[name][:place], days[name][place + 1 :]
        steps.append(
            Step(
                row,
                _outcome(row, before, used),
                before,
                predecessor=series[name][earlier[-1]] if earlier else None,
                until=later[0] if later else None,
            )
        )
    return Plan(_with_calls(steps))


def _outcome(row: PriceRow, before: Price | None, used: set[int]) -> Outcome:
    if before is None:
        return Outcome.NEW
    if terms_of(before) == row.terms:
        return Outcome.UNCHANGED
    return Outcome.REFUSED if before.pk in used else Outcome.CHANGED


def _used(prices: Sequence[int]) -> set[int]:
    """Those of the prices that a reservation or usage record was made at."""
    named = Exists(Reservation.objects.filter(price=OuterRef("pk"))) | Exists(
        UsageRecord.objects.filter(price=OuterRef("pk"))
    )
    return set(Price.objects.filter(named, pk__in=prices).values_list("pk", flat=True))


def _with_calls(steps: list[Step]) -> list[Step]:
    """The steps with the number of calls that were already reserved in the time of a new price, at other figures.

    A call's day is the one whose terms its organization has, as when it was reserved.
    """
    latest = max(filter(None, [database_now().date(), _latest_terms()]))
    asked = {
        place: step
        for place, step in enumerate(steps)
        if step.outcome == Outcome.NEW and (step.predecessor is None or step.row.effective_from <= latest)
    }
    calls = _calls(asked) if asked else {}
    return [
        Step(step.row, step.outcome, step.before, step.predecessor, step.until, calls.get(place, 0))
        for place, step in enumerate(steps)
    ]


def _latest_terms() -> date | None:
    found: date | None = Organization.objects.aggregate(latest=models.Max("terms_on"))["latest"]
    return found


_CALLS = f"""
    SELECT asked.place, count(*)
    FROM unnest(%s::int[], %s::text[], %s::text[], %s::date[], %s::date[], %s::numeric[], %s::numeric[], %s::numeric[],
        %s::numeric[]) AS asked (place, model, service_tier, since, until, input, cached_input, output, written)
    JOIN {Price._meta.db_table} price ON price.model = asked.model AND price.service_tier = asked.service_tier
        AND (price.input_usd_per_million, price.cached_input_usd_per_million, price.output_usd_per_million,
            COALESCE(price.cache_write_usd_per_million, price.input_usd_per_million))
            <> (asked.input, asked.cached_input, asked.output, asked.written)
    JOIN {Reservation._meta.db_table} reservation ON reservation.price_id = price.id
        AND reservation.status <> 'released'
    JOIN {Organization._meta.db_table} organization ON organization.id = reservation.organization_id
    CROSS JOIN LATERAL (
        SELECT coalesce(organization.terms_on, (reservation.reserved_at AT TIME ZONE 'UTC')::date) AS day
    ) terms
    WHERE (asked.since IS NULL OR terms.day >= asked.since) AND (asked.until IS NULL OR terms.day < asked.until)
    GROUP BY asked.place
"""  # noqa: S608  # names of tables only; every value is a parameter


def _calls(asked: Mapping[int, Step]) -> dict[int, int]:
    rows = [step.row for step in asked.values()]
    values: list[Any] = [
        list(asked),
        [row.model for row in rows],
        [row.service_tier for row in rows],
        [step.row.effective_from if step.predecessor else None for step in asked.values()],
        [step.until for step in asked.values()],
        [row.terms.input for row in rows],
        [row.terms.cached_input for row in rows],
        [row.terms.output for row in rows],
        [row.terms.written for row in rows],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_CALLS, values)
        return dict(cursor.fetchall())


# --- Writing ----------------------------------------------------------------------------------------------------------
def _price_of(row: PriceRow) -> Price:
    return Price(
        model=row.model,
        service_tier=row.service_tier,
        input_usd_per_million=row.terms.input,
        cached_input_usd_per_million=row.terms.cached_input,
        output_usd_per_million=row.terms.output,
        cache_write_usd_per_million=row.terms.cache_write,
        effective_from=row.effective_from,
        source=row.source,
    )


def _note(actor: User, steps: Sequence[Step], prices: Sequence[Price], origin: str) -> None:
    """One line in the history of each price."""
    content_type = ContentType.objects.get_for_model(Price)
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=actor.pk,
            content_type_id=content_type.pk,
            object_id=str(price.pk),
            object_repr=str(price)[:200],
            action_flag=CHANGE if step.before else ADDITION,
            change_message=(
                f"Imported from {origin}: {_figures(step.row.terms)}"
                + (f", instead of {_figures(terms_of(step.before))}." if step.before else ".")
            ),
        )
        for step, price in zip(steps, prices, strict=True)
    )


def _figures(terms: PriceTerms) -> str:
    told = f"input {usd(terms.input)}, cached input {usd(terms.cached_input)}, output {usd(terms.output)}"
    return told if terms.cache_write is None else f"{told}, input to the cache {usd(terms.cache_write)}"


def _said(row: PriceRow) -> list[str]:
    return [row.model, row.service_tier, _figures(row.terms), row.effective_from.isoformat(), row.source]
