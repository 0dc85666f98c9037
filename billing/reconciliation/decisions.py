"""What people make of differences: each is open until it was booked by an adjustment or accepted as it is.

A decision is about a difference of a day, not about a line of one run: later runs of the day find it again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from django.db import models, transaction
from django.db.models import F

from accounts import audit
from accounts.audit import Who
from accounts.models import AuditAction, Organization, Project, User
from accounts.provider_accounts import ProviderAccount
from billing import ledger
from billing.clock import database_now
from billing.errors import DifferenceChanged, NothingToDecide
from billing.models import ReconciledDay, ReconciliationDecision, ReconciliationLine, ReconciliationRun
from billing.models.reconciliations import TO_DECIDE, DecisionKind, DifferenceKind
from billing.money import usd
from billing.reconciliation.comparison import Line
from billing.reconciliation.figures import ZERO, Cell

GONE = "The difference is gone, and an adjustment was made for it."
Key = tuple[date, str, str, str]


class State(models.TextChoices):
    """Where a line stands, as people read it."""

    AGREES = "agrees"
    WAITING = "waiting"  # looked at again by itself, or explained
    OPEN = "open"
    ADJUSTED = "adjusted"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a line stands, and how many of its dollars nobody has decided about: what an adjustment would book."""

    state: State
    undecided_usd: Decimal


def current_lines() -> "models.QuerySet[ReconciliationLine]":
    """The lines of the run that holds for their day; of all accounts."""
    return ReconciliationLine.objects.filter(run__days__day=F("day"))


def standings(lines: Sequence[ReconciliationLine]) -> dict[UUID, Standing]:
    """Where each of these lines stands, by its id."""
    found = _decisions({line.run_id for line in lines}, {line.day for line in lines})
    accounts = dict(
        ReconciliationRun.objects.filter(pk__in={line.run_id for line in lines}).values_list("pk", "organization_id")
    )
    return {line.pk: _standing(line, found.get((accounts[line.run_id], _key(line)), [])) for line in lines}


def total(found: Iterable[Standing]) -> Decimal:
    """What is undecided in all of these, either way: differences do not cancel out. US dollars."""
    return sum((abs(standing.undecided_usd) for standing in found), ZERO)


def drift_usd() -> Decimal:
    """What is undecided between the books and the provider's bills, of every account; for metrics. US dollars."""
    return total(standings(list(current_lines().filter(kind__in=TO_DECIDE))).values())


def drift_of(account: ProviderAccount, organization: Organization) -> Decimal:
    """The same for one organization: of its own lines, and of those that it shares with others of its account."""
    mine = models.Q(organization=organization) | models.Q(organization=None)
    lines = current_lines().filter(mine, run__organization=account.organization, kind__in=TO_DECIDE)
    return total(standings(list(lines)).values())


@transaction.atomic
def adjust(
    line: ReconciliationLine,
    *,
    project: Project,
    amount_usd: Decimal,
    reason: str,
    actor: User,
    by: Who | None = None,
) -> ReconciliationDecision:
    """Books what is undecided of a difference into the open month of a project, as a person said.

    `amount_usd` is what the person was shown. Raises DifferenceChanged, NothingToDecide.
    """
    _require_undecided(line, amount_usd)
    entry = ledger.adjust(
        project,
        amount_usd,
        reason=f"Provider's bill of {line.day}, {line.model}, {line.get_kind_display()}: {reason}"[:500],
        actor=actor,
        corrects=datetime(line.day.year, line.day.month, line.day.day, tzinfo=UTC),
    )
    decision = _decide(line, DecisionKind.ADJUSTED, amount_usd, reason, actor, entry_id=entry.pk)
    _record(decision, by, organization_id=project.organization_id)
    return decision


@transaction.atomic
def accept(
    line: ReconciliationLine, *, amount_usd: Decimal, reason: str, actor: User, by: Who | None = None
) -> ReconciliationDecision:
    """Lets a difference stand: nothing is booked. Raises DifferenceChanged, NothingToDecide."""
    _require_undecided(line, amount_usd)
    decision = _decide(line, DecisionKind.ACCEPTED, amount_usd, reason, actor)
    _record(decision, by, organization_id=line.organization_id or line.run.organization_id)
    return decision


def whose_difference_is_gone(run: ReconciliationRun, lines: Sequence[Line]) -> list[Line]:
    """Lines for adjustments of the run's days whose difference is not there any more, so that people see them again."""
    there = {(line.cell.day, line.cell.provider_project, line.cell.model, line.kind.value) for line in lines}
    adjusted = (
        ReconciliationDecision.objects.filter(
            organization=run.organization,
            day__gte=run.first_day,
            day__lt=run.end_day,
            kind=DecisionKind.ADJUSTED,
        )
        .order_by()
        .values("day", "provider_project", "model", "difference_kind")
        .annotate(usd=models.Sum("amount_usd"))
    )
    return [
        Line(Cell(*key[:3]), DifferenceKind(key[3]), detail=GONE)
        for row in adjusted
        if (key := (row["day"], row["provider_project"], row["model"], row["difference_kind"])) not in there
        and row["usd"]
    ]


def _require_undecided(line: ReconciliationLine, amount_usd: Decimal) -> None:
    """Locks the view of the line's day. Raises DifferenceChanged, NothingToDecide."""
    views = ReconciledDay.objects.select_for_update().filter(organization=line.run.organization_id, day=line.day)
    view = views.first()
    standing = standings([line])[line.pk]
    if view is None or view.run_id != line.run_id:
        raise DifferenceChanged
    if standing.state != State.OPEN:
        raise NothingToDecide
    if standing.undecided_usd != amount_usd:
        raise DifferenceChanged


def _decide(
    line: ReconciliationLine,
    kind: DecisionKind,
    amount_usd: Decimal,
    reason: str,
    actor: User,
    entry_id: int | None = None,
) -> ReconciliationDecision:
    return ReconciliationDecision.objects.create(
        organization_id=line.run.organization_id,
        line=line,
        day=line.day,
        provider_project=line.provider_project,
        model=line.model,
        difference_kind=line.kind,
        kind=kind,
        amount_usd=amount_usd,
        reason=reason[:500],
        actor=actor,
        decided_at=database_now(),
        entry_id=entry_id,
    )


def _record(decision: ReconciliationDecision, by: Who | None, *, organization_id: UUID | None) -> None:
    """In the audit trail of whom it is about, after the book's lock."""
    audit.record(
        AuditAction.DECIDED,
        "reconciliation_line",
        decision.line_id,
        by=by or Who(user=decision.actor),
        organization_id=organization_id,
        name=f"{decision.day} {decision.model}",
        after={"decision": decision.kind, "amount_usd": usd(decision.amount_usd), "entry": decision.entry_id},
        reason=decision.reason,
    )


def _key(line: ReconciliationLine) -> Key:
    return line.day, line.provider_project, line.model, line.kind


def _decisions(runs: set[UUID], days: set[date]) -> dict[tuple[UUID | None, Key], list[ReconciliationDecision]]:
    """Decisions about these days, oldest first, by account and difference."""
    rows = ReconciliationDecision.objects.filter(day__in=days).order_by("decided_at", "id") if runs else []
    found: dict[tuple[UUID | None, Key], list[ReconciliationDecision]] = {}
    for row in rows:
        key = (row.day, row.provider_project, row.model, row.difference_kind)
        found.setdefault((row.organization_id, key), []).append(row)
    return found


def _standing(line: ReconciliationLine, decided: Sequence[ReconciliationDecision]) -> Standing:
    if line.kind == DifferenceKind.MATCHED:
        return Standing(State.AGREES, ZERO)
    if line.kind not in TO_DECIDE:
        return Standing(State.WAITING, ZERO)
    adjusted = sum((one.amount_usd for one in decided if one.kind == DecisionKind.ADJUSTED), ZERO)
    rest = line.difference_usd - adjusted
    last = decided[-1] if decided else None
    if last is None:
        return Standing(State.OPEN, rest)
    if last.kind == DecisionKind.ACCEPTED and last.amount_usd == rest:
        return Standing(State.ACCEPTED, ZERO)
    return Standing(State.OPEN, rest) if rest else Standing(State.ADJUSTED, ZERO)
