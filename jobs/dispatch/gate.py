"""The gate before the provider: where a breaker is open, one call at a time tries, and the other jobs wait."""

import math
from collections.abc import Iterable
from uuid import UUID

from jobs import breakers
from jobs.dispatch.facts import Facts
from jobs.dispatch.lines import Candidate, Line
from jobs.dispatch.rooms import Full, Rooms
from jobs.models import Attempt


class Gate(Rooms):
    """The rooms of a round, as far as the breakers let jobs to them."""

    def __init__(self, facts: Facts, lines: Iterable[Line]) -> None:
        super().__init__(facts, lines)
        self._open = breakers.present(facts.now)
        self._probing: dict[int, UUID] = {}

    def take(self, line: Line, candidate: Candidate, *, use_headroom: bool) -> Full | None:
        """As of the rooms; of those that a breaker binds, one job goes through when it is time to try."""
        binding = [each for each in self._open if each.binds(line.organization.id, line.project.id, line.family)]
        for breaker in binding:
            if not breaker.may_probe or breaker.id in self._probing:
                return Full(breaker.told(), math.inf)
        full = super().take(line, candidate, use_headroom=use_headroom)
        if full is None:
            self._probing |= {breaker.id: candidate.id for breaker in binding}
        return full

    def note_probes(self, attempts: Iterable[Attempt]) -> None:
        """Notes which of the attempts made are those that try; a job whose budget had no room has none."""
        made = {attempt.job_id: attempt.pk for attempt in attempts}
        probes = {breaker: made[job] for breaker, job in self._probing.items() if job in made}
        if probes:
            breakers.note_probes(probes, self._facts.now)
