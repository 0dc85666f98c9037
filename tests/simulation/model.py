"""What the money core should do, said as plainly as it can be: no product code, no database, no counters.

Whatever is held or spent is added up from the list of all calls each time that somebody asks. A step is one thing that
happens; `Model.apply` does it and says what came out of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

ZERO = Decimal(0)


# --- Who there is -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class World:
    """Names only: a project's organization and first team, a key's project and maker.

    Members may be in two organizations.
    """

    organizations: tuple[str, ...]
    members: tuple[str, ...]
    models: tuple[str, ...]
    project_organization: Mapping[str, str]
    project_team: Mapping[str, str | None]
    key_project: Mapping[str, str]
    key_member: Mapping[str, str]


# --- Steps ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Call:
    reference: str
    key: str
    model: str
    usd: Decimal
    input: int
    output: int
    price: str
    likely: Decimal | None = None  # what it hardly exceeds, with the risk beside it
    risk: Decimal = ZERO


@dataclass(frozen=True)
class Reserve:
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Settle:
    reference: str
    input: int
    cached: int
    output: int
    reasoning: int


@dataclass(frozen=True)
class Release:
    reference: str


@dataclass(frozen=True)
class SettleAll:
    """Together: all of them, or none where one is not there or was released."""

    settles: tuple[Settle, ...]


@dataclass(frozen=True)
class ReleaseAll:
    references: tuple[str, ...]


@dataclass(frozen=True)
class Doubt:
    reference: str


@dataclass(frozen=True)
class Adjust:
    project: str
    usd: Decimal


@dataclass(frozen=True)
class Quota:
    """A quota as it is configured. `owner` is the name of whom the scope says: an organization, a team, a member..."""

    name: str
    organization: str
    scope: str
    owner: str
    model: str  # empty: every model
    measure: str
    window: str
    limit: Decimal
    is_hard: bool
    starts: datetime | None
    expires: datetime | None
    risk: Decimal | None = None  # of a reserve


@dataclass(frozen=True)
class AddQuota:
    quota: Quota
    at_once: bool  # opened by whoever adds it, as the admin does; else by the first call


@dataclass(frozen=True)
class ChangeLimit:
    name: str
    limit: Decimal
    is_hard: bool
    refresh: bool


@dataclass(frozen=True)
class ChangeQuota:
    """It counts something else from now on, and so is counted anew."""

    quota: Quota


@dataclass(frozen=True)
class RemoveQuota:
    name: str


@dataclass(frozen=True)
class MoveProject:
    """The project has another team, or none, from now on. What was called and corrected before stays where it was."""

    project: str
    team: str | None


@dataclass(frozen=True)
class SetTier:
    organization: str
    tier: int
    refresh: bool


@dataclass(frozen=True)
class NewPrice:
    name: str
    model: str
    input: Decimal  # US dollars per million tokens
    cached: Decimal
    output: Decimal


@dataclass(frozen=True)
class Jump:
    to: datetime


@dataclass(frozen=True)
class CloseMonths:
    """The months of an organization that are over are closed."""

    organization: str


@dataclass(frozen=True)
class Crash:
    """The step is taken and rolled back: nothing of it may stay."""

    step: Any


Step = Any  # one of the above


# --- What is kept -----------------------------------------------------------------------------------------------------
@dataclass
class Reservation:
    call: Call
    made: datetime
    team: str | None
    booked: datetime | None = None  # when it was settled: the instant at which it counts
    state: str = "open"
    in_doubt: bool = False
    cost: Decimal | None = None
    tokens: tuple[int, int, int, int] | None = None  # input, cached, output, reasoning
    is_split: bool = False  # quotas hold what is likely, and reserves the rest


@dataclass(frozen=True)
class Adjustment:
    project: str
    usd: Decimal
    made: datetime
    team: str | None


@dataclass(frozen=True)
class Limit:
    """A limit in one window; `name` is the quota's, or empty for the tier's.

    It counts from `since` until `until`.
    """

    name: str
    organization: str
    scope: str
    owner: str
    model: str
    measure: str
    start: datetime
    end: datetime
    since: datetime
    until: datetime
    amount: Decimal
    is_hard: bool = True
    risk: Decimal | None = None

    @property
    def is_relieved(self) -> bool:
        """Whether a reserve may take a part: quotas of dollars of anybody below the organization."""
        return bool(self.name) and self.measure == "usd" and self.scope != "organization"


@lru_cache(maxsize=1024)
def window(kind: str, now: datetime, starts: datetime | None, expires: datetime | None) -> tuple[datetime, datetime]:
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC)
    if kind == "day":
        return midnight, midnight + timedelta(days=1)
    if kind == "week":
        monday = midnight
        while monday.isoweekday() != 1:
            monday -= timedelta(days=1)
        return monday, monday + timedelta(days=7)
    if kind == "month":
        first = datetime(now.year, now.month, 1, tzinfo=UTC)
        following = datetime(now.year + (now.month == 12), now.month % 12 + 1, 1, tzinfo=UTC)
        return first, following
    assert kind == "fixed"
    assert starts
    assert expires
    return starts, expires


@dataclass
class Model:
    world: World
    tier_limits: Mapping[int, Decimal]
    now: datetime
    tier: dict[str, int]
    team: dict[str, str | None]
    prices: dict[str, NewPrice] = field(default_factory=dict)
    quotas: dict[str, Quota] = field(default_factory=dict)  # in the order in which they were made
    reservations: dict[str, Reservation] = field(default_factory=dict)
    adjustments: list[Adjustment] = field(default_factory=list)
    closed: dict[str, datetime] = field(default_factory=dict)  # the instant until which an organization's months are
    paused: set[str] = field(default_factory=set)

    # --- Limits and sums ----------------------------------------------------------------------------------------------
    def binding(self, key: str, model: str | None, now: datetime | None = None) -> list[Limit]:
        """Every limit on a key's calls now, in the order in which they are asked: the tier's, then each quota."""
        now = now or self.now
        project = self.world.key_project[key]
        organization = self.world.project_organization[project]
        limits = [self.tier_on("organization", organization, now), self.tier_on("project", project, now)]
        for quota in self.quotas.values():
            begun = quota.starts is None or quota.starts <= now
            over = quota.expires is not None and quota.expires <= now
            for_model = not quota.model or model is None or quota.model == model
            if begun and not over and for_model and self.is_of(quota, key, self.team[project]):
                limits.append(self.quota_at(quota, now))
        return limits

    def clock(self, project: str) -> datetime:
        """The time of a project's book: now, and never in a closed month."""
        return max(self.now, self.closed.get(self.world.project_organization[project], self.now))

    def is_of(self, limit: Quota | Limit, key: str, team: str | None) -> bool:
        """Whether a key's calls, made when its project had this team, are those of the limit's owner."""
        project = self.world.key_project[key]
        organization = self.world.project_organization[project]
        owners = {
            "organization": organization,
            "team": team,
            "project": project,
            "member": self.world.key_member[key],
            "key": key,
        }
        return limit.organization == organization and owners[limit.scope] == limit.owner

    def tier_on(self, scope: str, owner: str, instant: datetime) -> Limit:
        organization = owner if scope == "organization" else self.world.project_organization[owner]
        start, end = window("month", instant, None, None)
        amount = self.tier_limits[self.tier[organization]]
        return Limit("", organization, scope, owner, "", "usd", start, end, start, end, amount)

    def quota_at(self, q: Quota, instant: datetime) -> Limit:
        start, end = window(q.window, instant, q.starts, q.expires)
        since = max(start, q.starts) if q.starts else start
        until = min(end, q.expires) if q.expires else end
        return Limit(
            *(q.name, q.organization, q.scope, q.owner, q.model, q.measure, start, end, since, until, q.limit),
            *(q.is_hard, q.risk),
        )

    def used(self, limit: Limit) -> tuple[Decimal, Decimal]:
        """(held, spent) of a limit: the sums over all calls of its owner that were made in its window."""
        held = spent = ZERO
        for reservation in self.reservations.values():
            call = reservation.call
            counts_at = reservation.booked or reservation.made
            in_time = limit.since <= counts_at < limit.until
            if not in_time or not self.is_of(limit, call.key, reservation.team) or limit.model not in ("", call.model):
                continue
            if reservation.state == "open":
                held += bound(call, limit, is_split=reservation.is_split)
            if reservation.state == "settled":
                spent += came_to(reservation, limit)
        for adjustment in self.adjustments:
            organization = self.world.project_organization[adjustment.project]
            owners = {
                "organization": organization,
                "team": adjustment.team,
                "project": adjustment.project,
            }
            in_time = limit.since <= adjustment.made < limit.until
            counts = limit.measure == "usd" and not limit.model and limit.organization == organization
            if in_time and counts and owners.get(limit.scope) == limit.owner:
                spent += adjustment.usd
        return held, spent

    def room(self, limit: Limit) -> Decimal:
        held, spent = self.used(limit)
        return limit.amount - held - spent

    # --- Steps --------------------------------------------------------------------------------------------------------
    def apply(self, step: Step) -> Any:
        return getattr(self, f"_{type(step).__name__.lower()}")(step)

    def _reserve(self, step: Reserve) -> list[Any]:
        """Each call in order: 'granted', or whose limit refused it and how full that stood."""
        return [self._reserve_one(call) for call in step.calls]

    def _reserve_one(self, call: Call) -> Any:
        project = self.world.key_project[call.key]
        limits = self.binding(call.key, call.model, self.clock(project))
        is_split = may_be_split(call, limits) and self._full(call, limits, is_split=True) is None
        full = None if is_split else self._full(call, limits, is_split=False)
        if full is not None:
            return (full.scope, full.measure, full.name, *self.used(full), max(self.room(full), ZERO))
        self.reservations[call.reference] = Reservation(
            call, self.clock(project), self.team[project], is_split=is_split
        )
        return "granted"

    def _full(self, call: Call, limits: list[Limit], *, is_split: bool) -> Limit | None:
        """The first limit that has no room for the call."""
        return next((each for each in limits if each.is_hard and bound(call, each, is_split) > self.room(each)), None)

    def _settle(self, step: Settle) -> Any:
        reservation = self.reservations.get(step.reference)
        if reservation is None:
            return "no such reservation"
        if reservation.state == "released":
            return "already released"
        if reservation.state == "open":
            price = self.prices[reservation.call.price]
            millionths = (
                (step.input - step.cached) * price.input + step.cached * price.cached + step.output * price.output
            )
            project = self.world.key_project[reservation.call.key]
            is_closed = reservation.made < self.closed.get(self.world.project_organization[project], reservation.made)
            reservation.booked = self.clock(project) if is_closed else reservation.made
            reservation.state = "settled"
            reservation.in_doubt = False
            reservation.cost = millionths.scaleb(-6)
            reservation.tokens = (step.input, step.cached, step.output, step.reasoning)
            if reservation.cost > reservation.call.usd:
                self.paused.add(project)
        return (reservation.cost, reservation.tokens, reservation.cost > reservation.call.usd)

    def _release(self, step: Release) -> Any:
        reservation = self.reservations.get(step.reference)
        if reservation is None:
            return "no such reservation"
        if reservation.state == "open":
            reservation.state = "released"
            reservation.in_doubt = False
        return None

    def _settleall(self, step: SettleAll) -> Any:
        states = [self._state_of(settle.reference) for settle in step.settles]
        if None in states:
            return "no such reservation"
        if "released" in states:
            return "already released"
        return [self._settle(settle) for settle in step.settles]

    def _releaseall(self, step: ReleaseAll) -> Any:
        if None in [self._state_of(reference) for reference in step.references]:
            return "no such reservation"
        for reference in step.references:
            self._release(Release(reference))
        return None

    def _state_of(self, reference: str) -> str | None:
        reservation = self.reservations.get(reference)
        return reservation.state if reservation else None

    def _doubt(self, step: Doubt) -> Any:
        reservation = self.reservations.get(step.reference)
        if reservation is None:
            return "no such reservation"
        if reservation.state == "open":
            reservation.in_doubt = True
        return None

    def _adjust(self, step: Adjust) -> None:
        self.adjustments.append(Adjustment(step.project, step.usd, self.clock(step.project), self.team[step.project]))

    def _addquota(self, step: AddQuota) -> None:
        self.quotas[step.quota.name] = step.quota

    def _changequota(self, step: ChangeQuota) -> None:
        self.quotas[step.quota.name] = step.quota

    def _changelimit(self, step: ChangeLimit) -> None:
        old = self.quotas[step.name]
        self.quotas[step.name] = Quota(**{**vars(old), "limit": step.limit, "is_hard": step.is_hard})

    def _removequota(self, step: RemoveQuota) -> None:
        del self.quotas[step.name]

    def _moveproject(self, step: MoveProject) -> None:
        self.team[step.project] = step.team

    def _settier(self, step: SetTier) -> None:
        self.tier[step.organization] = step.tier

    def _newprice(self, step: NewPrice) -> None:
        self.prices[step.name] = step

    def _jump(self, step: Jump) -> None:
        self.now = step.to

    def _closemonths(self, step: CloseMonths) -> None:
        """Nothing to close where nothing was ever written, or where the clock was set back."""
        projects = [name for name, owner in self.world.project_organization.items() if owner == step.organization]
        touched = [a for a in self.adjustments if a.project in projects]
        called = [r for r in self.reservations.values() if self.world.key_project[r.call.key] in projects]
        first = window("month", self.now, None, None)[0]
        earliest = min((each.made for each in (*touched, *called)), default=first)
        if earliest < first:
            self.closed[step.organization] = max(first, self.closed.get(step.organization, first))

    def _crash(self, step: Crash) -> None:
        return None

    def open(self) -> Iterator[Reservation]:
        return (reservation for reservation in self.reservations.values() if reservation.state == "open")


def may_be_split(call: Call, limits: list[Limit]) -> bool:
    """Whether reserves may hold what is beyond the likely: all of them take the risk, and somebody is relieved."""
    risks = [limit.risk for limit in limits if limit.risk is not None]
    if call.likely is None or call.likely >= call.usd or not risks or call.risk > min(risks):
        return False
    return any(limit.is_relieved for limit in limits)


def bound(call: Call, limit: Limit, is_split: bool = False) -> Decimal:
    """The most that a call can come to on a limit: all of its output may be reasoning."""
    likely = call.likely if is_split and call.likely is not None else call.usd
    amounts = {
        "usd": likely if limit.is_relieved else call.usd,
        "reserve_usd": call.usd - likely,
        "tokens": call.input + call.output,
        "output_tokens": call.output,
        "reasoning_tokens": call.output,
        "jobs": 1,
    }
    return Decimal(amounts[limit.measure])


def came_to(reservation: Reservation, limit: Limit) -> Decimal:
    """What a settled call came to on a limit. A reserve pays for what lies between the likely and the bound."""
    assert reservation.tokens is not None
    assert reservation.cost is not None
    tokens_in, _, tokens_out, reasoning = reservation.tokens
    call, paid = reservation.call, ZERO
    if reservation.is_split and call.likely is not None and reservation.cost > call.likely:
        paid = min(reservation.cost, call.usd) - call.likely
    amounts = {
        "usd": reservation.cost - paid if limit.is_relieved else reservation.cost,
        "reserve_usd": paid,
        "tokens": tokens_in + tokens_out,
        "output_tokens": tokens_out,
        "reasoning_tokens": reasoning,
        "jobs": 1,
    }
    return Decimal(amounts[limit.measure])
