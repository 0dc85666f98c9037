"""Whose turn it is: start-time fair queueing between organizations, and within each between its projects. Pure.

Each keeps a virtual instant up to which it was served. The one whose next start would begin earliest has its turn; the
start moves it on by the cost over its weight. Whoever was idle begins at the present virtual instant, so that neither
rest nor absence is saved up. Costs are nanoseconds: a call that takes a fiftieth of a minute's limit costs 1.2 s.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from uuid import UUID

# The weight at which a cost counts for itself.
USUAL_WEIGHT = 100


@dataclass(slots=True)
class Party:
    """An organization or a project: its weight, when its last start began and was paid, and its own parts' clock."""

    id: UUID
    weight: int
    begun_ns: int = 0
    served_ns: int = 0
    clock_ns: int = 0

    def next_ns(self, clock_ns: int) -> int:
        """The virtual instant at which its next start would begin."""
        return max(clock_ns, self.served_ns)

    def is_behind(self, clock_ns: int) -> bool:
        """Whether it had less than the others until now, which is only so where it did not ask."""
        return self.served_ns < clock_ns

    def pay(self, cost_ns: int, clock_ns: int) -> int:
        """Moves it on by a start; returns the virtual instant at which that began."""
        self.begun_ns = self.next_ns(clock_ns)
        self.served_ns = self.begun_ns + max(1, cost_ns * USUAL_WEIGHT // self.weight)
        return self.begun_ns


Turn = tuple[Party, Party]
Entry = tuple[int, int, int, Party]


Numbers = tuple[int, int, int]


@dataclass(slots=True)
class Shares:
    """The virtual instants of all organizations and projects, and what starts do to them."""

    clock_ns: int = 0
    changed: dict[UUID, Turn] = field(default_factory=dict)
    _before: dict[UUID, tuple[Party, Numbers]] = field(default_factory=dict)

    def pay(self, organization: Party, project: Party, cost_ns: int) -> None:
        """Books a start of a project of an organization."""
        for party in (organization, project):
            self._before.setdefault(party.id, (party, (party.begun_ns, party.served_ns, party.clock_ns)))
        organization.clock_ns = max(organization.clock_ns, project.pay(cost_ns, organization.clock_ns))
        self.clock_ns = max(self.clock_ns, organization.pay(cost_ns, self.clock_ns))
        self.changed[project.id] = (organization, project)

    def undo(self, clock_ns: int) -> None:
        """Forgets what was booked since the clock of all organizations stood so."""
        for party, numbers in self._before.values():
            party.begun_ns, party.served_ns, party.clock_ns = numbers
        self.clock_ns = clock_ns
        self.changed.clear()
        self._before.clear()

    def is_behind(self, organization: Party, project: Party) -> bool:
        """Whether the project had less than its siblings, or its organization less than the others."""
        return project.is_behind(organization.clock_ns) or organization.is_behind(self.clock_ns)


class FairOrder:
    """Turns in order. Those of one organization stand in a heap of their own, and so do the organizations."""

    def __init__(self, shares: Shares, turns: Iterable[Turn]) -> None:
        self._shares = shares
        self._projects: dict[UUID, list[Entry]] = {}
        organizations = {}
        for number, (organization, project) in enumerate(turns):
            organizations[organization.id] = organization
            entry = self._entry(project, organization.clock_ns, number)
            self._projects.setdefault(organization.id, []).append(entry)
        for entries in self._projects.values():
            heapify(entries)
        self._organizations = [
            self._entry(organization, shares.clock_ns, number)
            for number, organization in enumerate(organizations.values())
        ]
        heapify(self._organizations)

    def first(self) -> Turn | None:
        """The organization and the project whose turn it is; None when nobody is left."""
        while self._organizations:
            organization = self._organizations[0][-1]
            if projects := self._projects[organization.id]:
                return organization, projects[0][-1]
            heappop(self._organizations)
        return None

    def upcoming(self) -> list[Party]:
        """All projects that are left, roughly in the order of their turns."""
        return [entry[-1] for *_, party in sorted(self._organizations) for entry in sorted(self._projects[party.id])]

    def start(self, cost_ns: int) -> None:
        """Books a start of the project whose turn it is, and moves it and its organization back."""
        turn = self.first()
        assert turn, "only whose turn it is can start"
        organization, project = turn
        self._shares.pay(organization, project, cost_ns)
        # Nobody else's place changes: the clocks move to the least of all places, and no further.
        projects = self._projects[organization.id]
        heapreplace(projects, self._entry(project, organization.clock_ns, projects[0][2]))
        place = self._organizations[0][2]
        heapreplace(self._organizations, self._entry(organization, self._shares.clock_ns, place))

    def leave(self) -> None:
        """The project whose turn it is starts nothing more in this round."""
        turn = self.first()
        assert turn, "only whose turn it is can leave"
        heappop(self._projects[turn[0].id])

    @staticmethod
    def _entry(party: Party, clock_ns: int, number: int) -> Entry:
        # Of those who begin at the present instant, the one that was idle for longest is first.
        return party.next_ns(clock_ns), party.served_ns, number, party
