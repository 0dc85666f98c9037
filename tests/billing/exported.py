"""A generated past of an organization, in the real ledger, and readers of exported files."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from unittest import mock
from uuid import uuid4

import pyarrow.parquet
from django.db import transaction
from django.db.models import Sum
from hypothesis import strategies as st

from accounts.models import Project, User
from billing import closing, ledger
from billing.exports import streams
from billing.exports.selection import Selection
from billing.exports.streams import Format
from billing.ledger import Claim
from billing.limits import Owner
from billing.models import LedgerEntry, Price
from billing.pricing import Tokens

D = Decimal
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL_5 = datetime(2026, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Call:
    """A call of the past. `answered_after`: hours; one that runs over the closing of March is late truth."""

    at: int  # hours after the first of March
    price: int
    tokens: tuple[int, int, int, int]
    is_presumed: bool
    answered_after: int


@dataclass(frozen=True)
class Adjustment:
    at: int
    usd: Decimal
    is_about_march: bool


_COUNTS = st.tuples(*[st.integers(0, 200_000)] * 4)
CALLS = st.builds(
    Call, st.integers(0, 1200), st.integers(0, 3), _COUNTS, st.booleans(), st.sampled_from([0, 0, 0, 5, 1100])
)
ADJUSTMENTS = st.builds(
    Adjustment,
    st.integers(0, 1200),
    st.decimals("-5", "5", places=12, allow_nan=False).filter(bool),
    st.booleans(),
)
PASTS = st.lists(st.one_of(CALLS, CALLS, ADJUSTMENTS), max_size=8)


@contextmanager
def at(instant: datetime) -> Iterator[None]:
    """The database's clock, as the money core reads it."""
    with (
        mock.patch.object(ledger.storage, "now", return_value=instant),
        mock.patch.object(closing, "database_now", return_value=instant),
    ):
        yield


def prices() -> list[Price]:
    """One model whose price changes in the middle of a month, its batch half price, and another model."""
    rows = [
        ("o-test", "standard", "15", "7.5", "60", date(2026, 1, 1), "18.75"),
        ("o-test", "standard", "3.000001", "1.100003", "12.345678", date(2026, 3, 15), "3.333333"),
        ("o-test", "batch", "7.5", "3.75", "30", date(2026, 1, 1), None),
        ("o-mini-test", "standard", "0.55", "0.000001", "4.4", date(2026, 1, 1), None),
    ]
    return [
        Price.objects.create(
            model=model,
            service_tier=tier,
            input_usd_per_million=D(into),
            cached_input_usd_per_million=D(cached),
            output_usd_per_million=D(out),
            cache_write_usd_per_million=write and D(write),
            effective_from=day,
            source="a test",
        )
        for model, tier, into, cached, out, day, write in rows
    ]


def live(project: Project, actor: User, past: list[Call | Adjustment]) -> None:
    """Books a past in the order in which it happened; March is closed on the fifth of April."""
    known = prices()
    acts: list[tuple[datetime, int, Any]] = [(APRIL_5, 0, None)]
    for number, act in enumerate(past):
        acts.append((MARCH + timedelta(hours=act.at), number, act))
        if isinstance(act, Call):
            answered = MARCH + timedelta(hours=act.at + act.answered_after)
            acts.append((answered, number + len(past), (act, number)))
    references = [uuid4() for _ in past]
    for instant, number, act in sorted(acts, key=lambda one: one[:2]):
        with at(instant), transaction.atomic():
            match act:
                case None:
                    closing.close_until(project.organization, instant)
                case Call():
                    assert ledger.reserve([_claim(project, act, known[act.price], references[number])]) == []
                case Adjustment():
                    about = MARCH if act.is_about_march else None
                    ledger.adjust(project, act.usd, reason="=a correction", actor=actor, corrects=about)
                case (call, place):
                    _settle(call, references[place], known[call.price], actor)


@transaction.atomic
def call(project: Project, instant: datetime) -> None:
    """One small call of the first price, there and then."""
    with at(instant):
        price = Price.objects.filter(model="o-test").earliest("pk")
        claim = _claim(project, Call(0, 0, (0, 0, 0, 0), False, 0), price, uuid4())
        assert ledger.reserve([claim]) == []
        ledger.settle(claim.reference, Tokens(1, 0, 1, 0), snapshot="o-test")


def _claim(project: Project, call: Call, price: Price, reference: Any) -> Claim:
    # A tenth of a dollar is less than many of these calls cost: their bills are overruns.
    return Claim(
        reference=reference,
        amount_usd=D("0.1"),
        input_tokens=10,
        output_tokens=10,
        owner=Owner(project, project.team_id, model=price.model),
        service_tier=price.service_tier,
        price=price,
    )


def _settle(call: Call, reference: Any, price: Price, actor: User) -> None:
    into, cached, out, reasoning = call.tokens
    written = abs(into - cached) // 2 * (reasoning % 2)
    tokens = Tokens(max(into, cached), min(into, cached), max(out, reasoning), min(out, reasoning), written)
    why = {"reason": "presumed spent: not found", "actor_id": actor.pk} if call.is_presumed else {}
    ledger.settle_all([ledger.Usage(reference, tokens, price.model, **why)])


def of_ledger(project: Project, start: date, end: date) -> Decimal:
    """What the ledger says was spent in whole months."""
    begin, until = (datetime.combine(day, time(), UTC) for day in (start, end))
    entries = LedgerEntry.objects.filter(
        organization=project.organization, window_start__gte=begin, window_start__lt=until
    )
    return entries.aggregate(sum=Sum("spent_change_usd"))["sum"] or D(0)


def exported(selection: Selection, form: Format) -> list[dict[str, Any]]:
    """The rows of a file, decimals as Decimal."""
    content = b"".join(streams.content(selection, form))
    if form.is_parquet:
        return pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))
