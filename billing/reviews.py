"""Reviewing a month's spend: its lines as the books have them, and what people said about each.

A line is what one member spent in a project on one model; a project's adjustments are one line. The lines of a month
sum to the ledger. An approval keeps the amount it was given for: a line that comes to something else later has changed
since its approval, and is open again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q, Sum

from accounts import access, audit
from accounts.access import Capability, Person
from accounts.audit import Who
from accounts.models import AuditAction, Organization, Project, User
from billing import books
from billing.clock import database_now
from billing.errors import ReviewRefused
from billing.models import LedgerEntry, ReviewAct, ReviewedLine, ReviewNote, ReviewState, SpendRollup
from billing.models.entries import EntryKind
from billing.money import usd
from billing.periods import Window
from billing.reach import Reach

# The permission of staff who have no place in the organization.
STAFF_PERMISSION: Final = "billing.review_spend"
# Whence an act may be done, and where the line stands after it. An approval answers whatever was asked.
COMES_FROM: Final[Mapping[ReviewAct, frozenset[ReviewState]]] = {
    ReviewAct.APPROVED: frozenset(ReviewState),
    ReviewAct.QUESTIONED: frozenset(ReviewState),
    ReviewAct.ANSWERED: frozenset({ReviewState.QUESTIONED}),
    ReviewAct.COMMENTED: frozenset(ReviewState),
}
LEADS_TO: Final[Mapping[ReviewAct, ReviewState]] = {
    ReviewAct.APPROVED: ReviewState.APPROVED,
    ReviewAct.QUESTIONED: ReviewState.QUESTIONED,
    ReviewAct.ANSWERED: ReviewState.ANSWERED,
}
NEEDS_WORDS: Final = frozenset(ReviewAct) - {ReviewAct.APPROVED}


class Right(StrEnum):
    """What somebody may do to the lines of a project."""

    QUESTION = "question"  # and everything else
    APPROVE = "approve"  # and answer and comment


@dataclass(frozen=True, slots=True)
class Place:
    """Which line of a month it is. Without a model: the project's adjustments."""

    project_id: UUID
    model: str
    member_id: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line as the books have it now, and what was said about it."""

    place: Place
    project: str
    member: str
    calls: int
    tokens: int
    amount_usd: Decimal
    reviewed: ReviewedLine | None = None
    notes: Sequence[ReviewNote] = field(default_factory=tuple)

    @property
    def has_changed(self) -> bool:
        """Whether it was approved at another amount."""
        return self.reviewed is not None and self.reviewed.approved_usd not in {None, self.amount_usd}

    @property
    def state(self) -> ReviewState:
        return ReviewState(self.reviewed.state) if self.reviewed else ReviewState.OPEN

    @property
    def is_done(self) -> bool:
        return self.state is ReviewState.APPROVED and not self.has_changed

    @property
    def awaits_an_answer(self) -> bool:
        return self.state is ReviewState.QUESTIONED


@dataclass(frozen=True, slots=True)
class Rights:
    """What somebody may do in the review of an organization's months."""

    everywhere: bool
    projects: frozenset[UUID]  # that they may approve; of the teams that they lead

    def has(self, right: Right, project_id: UUID) -> bool:
        return self.everywhere or (right is Right.APPROVE and project_id in self.projects)

    def allows(self, act: ReviewAct, project_id: UUID) -> bool:
        return self.has(Right.QUESTION if act is ReviewAct.QUESTIONED else Right.APPROVE, project_id)


def rights_of(person: Person, organization_id: UUID) -> Rights:
    """Whoever has REVIEW_SPEND, or is permitted as staff, reviews it all; a lead approves their teams' projects."""
    if person.is_staff and person.has_perm(STAFF_PERMISSION):
        return Rights(True, frozenset())
    if access.may(person, Capability.REVIEW_SPEND, organization_id):
        return Rights(True, frozenset())
    led = Project.objects.filter(organization=organization_id, team__leads__user=person.pk)
    seen = access.projects(person, Capability.SEE_SPEND)
    return Rights(False, frozenset(led.filter(pk__in=seen.values("pk")).values_list("pk", flat=True)))


def lines_of(organization: Organization, month: Window, reach: Reach) -> list[Line]:
    """The lines of a month that may be seen, the dearest project first and within it the dearest line."""
    of = Q(organization=organization.pk)
    if reach.projects is not None:
        of &= Q(project__in=reach.projects)
    found = [*_usage(of, month), *_adjustments(of, month)]
    names = dict(Project.objects.filter(pk__in={line.place.project_id for line in found}).values_list("pk", "name"))
    emails = dict(User.objects.filter(pk__in={line.place.member_id for line in found}).values_list("pk", "email"))
    said = {_place_of(row): row for row in _reviewed(of, month)}
    notes: dict[UUID, list[ReviewNote]] = {}
    for note in ReviewNote.objects.filter(line__in=said.values()).select_related("author"):
        notes.setdefault(note.line_id, []).append(note)
    whole = []
    # Lines that were reviewed and are empty by now are still shown: somebody approved money that is not there.
    gone = [Line(place, "", "", 0, 0, Decimal(0)) for place in said.keys() - {line.place for line in found}]
    names |= dict(Project.objects.filter(pk__in={line.place.project_id for line in gone}).values_list("pk", "name"))
    for line in [*found, *gone]:
        row = said.get(line.place)
        whole.append(
            Line(
                line.place,
                names[line.place.project_id],
                emails.get(line.place.member_id or 0, ""),
                line.calls,
                line.tokens,
                line.amount_usd,
                row,
                notes.get(row.pk, []) if row else (),
            )
        )
    totals: dict[UUID, Decimal] = {}
    for line in whole:
        totals[line.place.project_id] = totals.get(line.place.project_id, Decimal(0)) + line.amount_usd
    return sorted(
        whole,
        key=lambda line: (
            *(-totals[line.place.project_id], line.project, line.place.project_id),
            *(not line.place.model, -line.amount_usd, line.place.model, line.member),
        ),
    )


@transaction.atomic
def act(
    organization: Organization,
    month: Window,
    places: Iterable[Place],
    what: ReviewAct,
    *,
    reach: Reach,
    rights: Rights,
    author: User,
    by: Who,
    text: str = "",
    seen_usd: Mapping[Place, Decimal] | None = None,
) -> int:
    """Does something to some lines; returns to how many. `seen_usd`: what the author saw them come to.

    All or none: raises ReviewRefused where a line is not there, comes to something else than was seen, may not be
    touched by the author, or stands where this cannot be done.
    """
    wanted = list(dict.fromkeys(places))
    if what in NEEDS_WORDS and not text.strip():
        raise ReviewRefused("Say it in words.")
    books.lock([organization.pk])  # the amounts stand still, and nobody else reviews meanwhile
    known = {line.place: line for line in lines_of(organization, month, reach)}
    now = database_now()
    for place in wanted:
        line = known.get(place)
        if line is None or not rights.allows(what, place.project_id):
            raise ReviewRefused("There is no such line that you may review.")
        if seen_usd is not None and seen_usd.get(place, line.amount_usd) != line.amount_usd:
            raise ReviewRefused(f"This line comes to {usd(line.amount_usd)} USD by now. Look at it again.")
        if line.state not in COMES_FROM[what]:
            raise ReviewRefused(f"This line is {line.state.label.lower()}: it cannot be {what.label.lower()}.")
        _write(organization, month, line, what, text.strip(), author, by, now)
    return len(wanted)


def _write(
    organization: Organization,
    month: Window,
    line: Line,
    what: ReviewAct,
    text: str,
    author: User,
    by: Who,
    now: datetime,
) -> None:
    """One act upon one line, with its note and its entry in the audit trail."""
    state = LEADS_TO.get(what, line.state)
    approved = line.amount_usd if what is ReviewAct.APPROVED else None
    if what is ReviewAct.COMMENTED and line.reviewed:
        approved = line.reviewed.approved_usd
    row, _ = ReviewedLine.objects.update_or_create(
        organization=organization,
        month=month.start.date(),
        project_id=line.place.project_id,
        model=line.place.model,
        member_id=line.place.member_id,
        defaults={"state": state, "approved_usd": approved, "changed_at": now},
    )
    ReviewNote.objects.create(line=row, act=what, amount_usd=line.amount_usd, text=text[:1000], author=author, at=now)
    audit.record(
        AuditAction.DECIDED,
        "spend_review",
        row.pk,
        by=by,
        organization_id=organization.pk,
        name=str(row),
        before={"state": line.state.value},
        after={"state": state.value, "act": what.value, "amount_usd": usd(line.amount_usd)},
        reason=text,
    )


def _usage(of: Q, month: Window) -> list[Line]:
    rows = SpendRollup.objects.filter(of, day__gte=month.start.date(), day__lt=month.end.date()).order_by()
    sums = {name: Sum(name) for name in ("calls", "input_tokens", "output_tokens", "total_usd")}
    return [
        Line(
            Place(row["project_id"], row["model"], row["member_id"]),
            *("", "", row["calls"], row["input_tokens"] + row["output_tokens"], row["total_usd"]),
        )
        for row in rows.values("project_id", "model", "member_id").annotate(**sums)
    ]


def _adjustments(of: Q, month: Window) -> list[Line]:
    entries = LedgerEntry.objects.filter(of, kind=EntryKind.ADJUST, window_start=month.start).order_by()
    sums = entries.values_list("project_id").annotate(Sum("spent_change_usd"))
    return [Line(Place(project, "", None), "", "", 0, 0, amount) for project, amount in sums]


def _reviewed(of: Q, month: Window) -> Iterable[ReviewedLine]:
    return ReviewedLine.objects.filter(of, month=month.start.date())


def _place_of(row: ReviewedLine) -> Place:
    return Place(row.project_id, row.model, row.member_id)
