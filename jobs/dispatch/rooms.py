"""How much the rate limits have room for: what the calls of a round may ask of them, and what it costs a project."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings

from accounts.models import ProjectRateLimit, RateLimit
from jobs import limiter
from jobs.dispatch.facts import Facts
from jobs.dispatch.lines import Candidate, Line

# Calls whose turn comes later than this are not started yet: whoever comes meanwhile would stand behind them.
LOOK_AHEAD_SECONDS = 1.0
# How long a call is taken to keep its slot, where the cost of a start is reckoned.
SLOT_SECONDS = 10
NS = 1_000_000_000
_WINDOWS = {
    "requests_per_minute": 60,
    "tokens_per_minute": 60,
    "requests_per_day": 86_400,
    "tokens_per_day": 86_400,
}


class Room(Protocol):
    """What one account's limits have room for."""

    def earliest(self, *, requests: int, tokens: int, use_headroom: bool) -> tuple[float, str]:
        """Seconds from now at which so many calls of so many tokens in all could have started.

        And the limit that binds. Infinite where they never can.
        """
        ...


@dataclass(frozen=True, slots=True)
class _OwnRoom:
    """What a project's own limits have room for, whatever the account's have."""

    room: limiter.Room
    owner: str

    def earliest(self, *, requests: int, tokens: int, use_headroom: bool) -> tuple[float, str]:
        return self.room.earliest(requests=requests, tokens=tokens, use_headroom=use_headroom, owner=self.owner)


@dataclass(frozen=True, slots=True)
class Full:
    """A job may not start yet: what it waits for, and in how many seconds there may be room.

    `is_own` when it waits alone, and others of its queue need not.
    """

    told: dict[str, Any]
    seconds: float
    is_own: bool = False


@dataclass(slots=True)
class Family:
    """A model family under one account: its limits, and what attempts that wait for their turn will ask of them."""

    name: str
    limits: RateLimit | ProjectRateLimit | None
    room: Room | None
    requests: int = 0
    tokens: int = 0
    full: dict[bool, Full] = field(default_factory=dict)

    def take(self, tokens: int, *, use_headroom: bool) -> Full | None:
        """Takes the room for a call; or says why there is none, and there is none for those after it either."""
        full = self.look(tokens, use_headroom=use_headroom)
        if full is None:
            self.requests, self.tokens = self.requests + 1, self.tokens + tokens
        return full

    def look(self, tokens: int, *, use_headroom: bool) -> Full | None:
        """The same, and takes nothing."""
        if use_headroom in self.full:
            return self.full[use_headroom]
        if self.room is None:
            return Full({"reason": "rate_limit", "limit": "unknown", "model": self.name}, math.inf)
        ahead = min(LOOK_AHEAD_SECONDS, settings.ADMISSION_HORIZON_SECONDS)
        asked = {"requests": self.requests + 1, "tokens": self.tokens + tokens}
        seconds, limit = self.room.earliest(**asked, use_headroom=use_headroom)
        if seconds <= ahead:
            return None
        told = {"reason": "rate_limit", "model": self.name, **self._named(limit)}
        if seconds == math.inf and self.room.earliest(requests=1, tokens=tokens, use_headroom=True)[0] == math.inf:
            return Full(told, math.inf, is_own=True)
        self.full[use_headroom] = Full(told, seconds - ahead)
        return self.full[use_headroom]

    def _named(self, bucket: str) -> dict[str, Any]:
        """A limit as a reader knows it: its name and value, and that it is the project's own where it is."""
        limit = bucket.rpartition(":")[2]
        named = {"limit": limit, "limit_value": getattr(self.limits, limit, None)}
        return named | {"scope": "project"} if isinstance(self.limits, ProjectRateLimit) else named


class Rooms:
    """The families that come up in a round, by their accounts.

    The facts of a line that is asked for have to be known, and those of `unclaimed`, the lines whose attempts wait for
    their turns.
    """

    def __init__(self, facts: Facts, lines: Iterable[Line]) -> None:
        self._facts = facts
        self.unclaimed = [line for line in lines if line.unclaimed]
        self._families: dict[tuple[str, str], Family] = {}
        self._owned: dict[UUID, Family | None] = {}
        self.is_limiter_away = False

    def family(self, line: Line) -> Family:
        key = (self._facts.account(line), line.family)
        if key not in self._families:
            limits = self._facts.limits(line)
            family = Family(line.family, limits, limiter.room(*key, limits) if limits else None)
            for other in self.unclaimed:
                if (self._facts.account(other), other.family) == key:
                    family.requests += other.unclaimed
                    family.tokens += other.unclaimed_tokens
            self._families[key] = family
        return self._families[key]

    def take(self, line: Line, candidate: Candidate, *, use_headroom: bool) -> Full | None:
        """As `Family.take`; with the limiter away there is room for nobody."""
        return self._ask(line, lambda family: family.take(candidate.admission_tokens, use_headroom=use_headroom))

    def look(self, line: Line, *, use_headroom: bool) -> Full | None:
        """What even the smallest call of a line waits for; None where its jobs are worth being read."""
        return self._ask(line, lambda family: family.look(1, use_headroom=use_headroom))

    def _ask(self, line: Line, ask: Callable[[Family], Full | None]) -> Full | None:
        """What is said of the project's own limits, else of the account's."""
        if not self.is_limiter_away:
            try:
                own = self._own(line)
                return (ask(own) if own else None) or ask(self.family(line))
            except limiter.LimiterAway:
                self.is_limiter_away = True
        return Full({"reason": "limiter_unavailable"}, math.inf)

    def _own(self, line: Line) -> Family | None:
        """The limits that the project of a line has of its own for its family, if any."""
        if line.id not in self._owned:
            limits, override = self._facts.limits(line), self._facts.override(line)
            if limits is None or override is None:
                self._owned[line.id] = None
            else:
                more = limiter.buckets_of(override, tokens=0)
                room = limiter.room(self._facts.account(line), line.family, limits, more=more)
                own = _OwnRoom(room, limiter.project_owner(line.project.id))
                self._owned[line.id] = Family(line.family, override, own, line.unclaimed, line.unclaimed_tokens)
        return self._owned[line.id]

    @property
    def next_room_seconds(self) -> float | None:
        """In how many seconds a family that was full has room again; None where that is not known."""
        families = [*self._families.values(), *(own for own in self._owned.values() if own)]
        seconds = [full.seconds for family in families for full in family.full.values()]
        return min(seconds, default=math.inf) if min(seconds, default=math.inf) < math.inf else None

    def cost_ns(self, line: Line, candidate: Candidate, slots: int) -> int:
        """What a start takes of the scarcest of its limits, in nanoseconds of that limit: its dominant share.

        A call of a fiftieth of a minute's tokens costs 1.2 s. A slot is a limit as well, kept for about ten seconds.
        """
        limits = self.family(line).limits
        costs = [SLOT_SECONDS * NS // max(1, slots)]
        for name, seconds in _WINDOWS.items():
            limit = getattr(limits, name, None)
            if limit:
                amount = 1 if name.startswith("requests") else candidate.admission_tokens
                costs.append(seconds * NS * amount // limit)
        return max(costs)
