"""One round of the dispatcher, inside one transaction: look, choose, hold, start, tell."""

from dataclasses import dataclass
from uuid import UUID

from billing.clock import database_now
from jobs import workers
from jobs.dispatch import starting
from jobs.dispatch.choice import Chooser
from jobs.dispatch.facts import Facts
from jobs.dispatch.gate import Gate
from jobs.dispatch.lines import present
from jobs.dispatch.shares import Shares
from jobs.dispatch.slots import slots_for


@dataclass(frozen=True, slots=True)
class Round:
    """What a round came to: the attempts made, and when a rate limit that held jobs back has room again.

    `is_more_likely`: something started, and another round at once may find more that can.
    """

    attempt_ids: tuple[UUID, ...] = ()
    next_room_seconds: float | None = None
    is_more_likely: bool = False


def carry_out(count: int) -> Round:
    """Starts up to `count` jobs. One dispatcher at a time may be here, so that all together start no more than fits."""
    now = database_now()
    total = workers.slots(now)
    used = workers.calls_in_flight()
    if used >= total:
        return Round()
    clock_ns, lines = present()
    open_projects = {line.project.id for line in lines if line.is_open}
    if not open_projects:
        return Round()
    slots = slots_for(open_projects, total=total, used=used, count=count)
    facts, shares = Facts(now), Shares(clock_ns)
    rooms = Gate(facts, lines)
    choice = Chooser(lines, shares, facts, rooms, slots, count).choose()
    starting.fail(choice.failures, now)
    starting.set_aside(choice.waits, now)
    granted, refused, attempts = starting.start(choice, facts)
    rooms.note_probes(attempts)
    # Only what did start is paid for.
    shares.undo(clock_ns)
    starting.pay(granted, shares, now)
    starting.tell(lines, choice, refused, now)
    is_cut_short = len(choice.picks) == count or bool(refused) or any(line.probe is not None for line in lines)
    return Round(
        attempt_ids=tuple(attempt.pk for attempt in attempts),
        next_room_seconds=rooms.next_room_seconds,
        is_more_likely=bool(attempts) and is_cut_short,
    )
