"""What goes wrong and when: the same seed gives the same schedule."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.chaos.knobs import Knobs


class Action(StrEnum):
    KILL = "kill"
    STOP = "stop"  # and go on after some seconds
    FLUSH = "flush"
    KILL_VALKEY = "kill Valkey"
    KILL_POSTGRES = "kill PostgreSQL"


# Whom a kill or a stop meets, out of 16: most often those who have a call in hand. "web" is the master of its servers.
_VICTIMS = {"calls": 7, "server": 4, "control": 3, "web": 1, "beat": 1}
_SHORTEST_STOP, _LONGEST_STOP = 1.0, 8.0
# Nothing goes wrong in the first and in the last part of the load.
_QUIET = 0.04


@dataclass(frozen=True)
class Event:
    """One thing that goes wrong, so many seconds after the load began.

    `chance` picks one of the role's processes, whichever live then; `seconds` is how long a stop lasts.
    """

    at: float
    action: Action
    role: str = ""
    chance: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.action} {self.role}".strip() + lasting


def plan(knobs: Knobs) -> Sequence[Event]:
    """All events in the order of their time, spread at random over the load."""
    dice = random.Random(knobs.seed)

    def instant() -> float:
        return dice.uniform(_QUIET, 1 - _QUIET) * knobs.seconds

    def victim() -> str:
        return dice.choices(list(_VICTIMS), list(_VICTIMS.values()))[0]

    kills = [Event(instant(), Action.KILL, victim(), dice.random()) for _ in range(knobs.kills)]
    stops = [
        Event(instant(), Action.STOP, victim(), dice.random(), dice.uniform(_SHORTEST_STOP, _LONGEST_STOP))
        for _ in range(knobs.stops)
    ]
    others = [
        Event(instant(), action)
        for action, count in (
            (Action.FLUSH, knobs.flushes),
            (Action.KILL_VALKEY, knobs.valkey_kills),
            (Action.KILL_POSTGRES, knobs.postgres_kills),
        )
        for _ in range(count)
    ]
    return sorted([*kills, *stops, *others], key=lambda event: event.at)
