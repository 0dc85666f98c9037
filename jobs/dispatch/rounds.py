"""One round of the dispatcher, inside one transaction: look, choose, hold, start, tell."""

from dataclasses import dataclass
from uuid import UUID

from billing.clock import database_now
from jobs import workers
from jobs.dispatch import starting
from jobs.dispatch.choice import Chooser
from jobs.dispatch.facts import Facts
from jobs.dispatch.lines import present
from jobs.dispatch.rooms import Rooms
from jobs.dispatch.shares import Shares
from jobs.dispatch.slots import slots_for


@dataclass(frozen=True, slots=True)
class Round:
    """What a round came to: the attempts made, and when a rate limit that held jobs back has room again."""

    attempt_ids: tuple[UUID, ...] = ()
    next_room_seconds: float | None = None


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
    rooms = Rooms(facts, lines)
    choice = Chooser(lines, shares, facts, rooms, slots, count).choose()
    starting.fail(choice.failures, now)
    starting.set_aside(choice.waits, now)
    granted, refused, attempts = starting.start(choice, facts)
    # Only what did start is paid for.
    shares.undo(clock_ns)
    starting.pay(granted, shares, now)
    starting.tell(lines, choice, refused, now)
    return Round(tuple(attempt.pk for attempt in attempts), rooms.next_room_seconds)
