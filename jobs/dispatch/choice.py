"""Which jobs of those in line start: in fair order, as far as slots and rate limits have room."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from accounts.errors import DomainError
from jobs.dispatch import probes
from jobs.dispatch.facts import Facts, Terms
from jobs.dispatch.lines import Candidate, Line, read_heads
from jobs.dispatch.rooms import Full, Rooms
from jobs.dispatch.shares import FairOrder, Party, Shares
from jobs.dispatch.slots import Slots


@dataclass(frozen=True, slots=True)
class Pick:
    """A job that may start, once its hold is granted."""

    candidate: Candidate
    line: Line
    terms: Terms
    cost_ns: int
    use_headroom: bool


@dataclass(slots=True)
class Choice:
    """What a round comes to: the jobs that may start in their order, those that never can, those that wait alone."""

    picks: list[Pick] = field(default_factory=list)
    failures: list[tuple[Candidate, DomainError]] = field(default_factory=list)
    waits: list[tuple[Candidate, dict[str, Any]]] = field(default_factory=list)
    tried: dict[UUID, list[Candidate]] = field(default_factory=dict)


class Chooser:
    """Goes round the projects in fair order until enough is chosen or nobody has room."""

    def __init__(self, lines: Iterable[Line], shares: Shares, facts: Facts, rooms: Rooms, slots: Slots, count: int):
        self._shares, self._facts, self._rooms, self._slots, self._count = shares, facts, rooms, slots, count
        self._lines: dict[UUID, list[Line]] = {}
        turns = {}
        for line in lines:
            if line.is_open:
                self._lines.setdefault(line.project.id, []).append(line)
                turns[line.project.id] = (line.organization, line.project)
        self._order = FairOrder(shares, turns.values())
        self._choice = Choice()

    def choose(self) -> Choice:
        """The jobs that start now, as far as their budgets let them."""
        while len(self._choice.picks) < self._count and (turn := self._order.first()):
            _, project = turn
            if not self._slots.has_room(project.id):  # before anything is read for it
                self._close(project)
            elif line := self._line_of(project):
                self._try_head(project, line)
            else:
                self._order.leave()
        return self._choice

    def _try_head(self, project: Party, line: Line) -> None:
        candidate = line.heads.popleft()
        line.was_looked_at = True
        self._choice.tried.setdefault(line.id, []).append(candidate)
        if probes.is_passed_by(line, candidate):
            return
        try:
            terms = self._facts.terms(candidate)
        except DomainError as error:
            self._choice.failures.append((candidate, error))
            return
        use_headroom = self._may_use_headroom(line)
        full = self._rooms.take(line, candidate, use_headroom=use_headroom)
        if full is None:
            cost_ns = self._rooms.cost_ns(line, candidate, self._slots.total)
            self._choice.picks.append(Pick(candidate, line, terms, cost_ns, use_headroom))
            line.picked += 1
            self._slots.take(project.id)
            self._order.start(cost_ns)
        elif full.is_own:
            self._choice.waits.append((candidate, full.told))
        else:
            self._choice.tried[line.id].pop()
            self._wait(line, full)

    def _line_of(self, project: Party) -> Line | None:
        """Of the project's queues that have room, the one whose next job goes first."""
        best = None
        for line in self._lines[project.id]:
            if line.is_open and not line.heads and not line.is_read_up and not self._is_done(line):
                self._read(line)
            if line.is_open and line.heads and not self._is_done(line):
                head = (line.heads[0].order_at, line.heads[0].id)
                if best is None or head < best[0]:
                    best = (head, line)
        return best and best[1]

    def _is_done(self, line: Line) -> bool:
        return line.probe is not None and line.picked >= probes.WINDOW

    def _read(self, line: Line) -> None:
        """Reads the head of a line, and with it those of the lines that come next: as many jobs as are to start.

        Of a line that was read before, twice as much as then.
        """
        if line.read:
            read_heads([(line, min(2 * line.read, self._count))])
            return
        coming = (other for project in self._order.upcoming() for other in self._lines[project.id])
        unread = [other for other in coming if other.is_open and not other.read and other is not line]
        chosen = [line, *unread[: self._count - 1]]
        self._facts.learn([*chosen, *self._rooms.unclaimed])
        if full := self._rooms.look(line, use_headroom=self._may_use_headroom(line)):
            self._wait(line, full)
            return
        # No more than may start: each is locked, and a lock is written.
        each = math.ceil(min(self._count, max(1, self._slots.free)) / len(chosen))
        read_heads([(other, each if other.probe is None else probes.WINDOW * 2) for other in chosen])

    def _may_use_headroom(self, line: Line) -> bool:
        return line.created + line.picked == 0 and self._shares.is_behind(line.organization, line.project)

    @staticmethod
    def _wait(line: Line, full: Full) -> None:
        """Nothing more of the line starts in this round."""
        line.was_looked_at, line.told, line.is_open = True, full.told, False

    def _close(self, project: Party) -> None:
        """The project waits for a slot, and for nothing else."""
        for line in self._lines[project.id]:
            line.was_looked_at = line.was_looked_at or line.is_open
        self._order.leave()
