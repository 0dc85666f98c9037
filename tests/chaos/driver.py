"""Does to a fleet what the schedule says, and starts again what ended, as systemd would."""

import contextlib
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import redis

from tests.benchmarks.load import processor
from tests.benchmarks.load.fleet import Fleet
from tests.chaos.schedule import Action, Event

RESTART_SECONDS = 1.0
# A server of the web master's that is named by its master's process.
_SERVER, _WEB = "server", "web"
_REDIS_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class Happened:
    """An event that took place: at which second of the load, at which instant (time.time), and to which process."""

    event: Event
    second: float
    at: float
    pid: int | None

    def __str__(self) -> str:
        return f"{self.second:7.1f} s  {self.event}" + (f" (pid {self.pid})" if self.pid else "")


class Driver:
    """Called often from the main thread, to which the lives of the processes that it starts are tied."""

    def __init__(self, fleet: Fleet, schedule: Sequence[Event]) -> None:
        self._fleet = fleet
        self._left = deque(schedule)
        self._began = time.monotonic()
        self._go_on: list[tuple[float, int]] = []  # when (monotonic), and which process that was stopped
        self.trail: list[Happened] = []

    @property
    def is_through(self) -> bool:
        return not self._left and not self._go_on

    @property
    def counts(self) -> Counter[Action]:
        return Counter(happened.event.action for happened in self.trail)

    def tick(self) -> None:
        """Does what is due. An event without a victim, all of whose kind are dead just now, waits for one."""
        self._keep_up()
        now = time.monotonic()
        for due, pid in [entry for entry in self._go_on if entry[0] <= now]:
            self._go_on.remove((due, pid))
            _send(pid, signal.SIGCONT)
        waiting = []
        while self._left and self._left[0].at <= now - self._began:
            event = self._left.popleft()
            if not self._take_place(event):
                waiting.append(event)
        self._left.extendleft(reversed(waiting))

    def _keep_up(self) -> None:
        self._fleet.keep_up(after_seconds=RESTART_SECONDS)
        self._fleet.servers.keep_up(after_seconds=RESTART_SECONDS)

    def _take_place(self, event: Event) -> bool:
        pid = None
        match event.action:
            case Action.KILL | Action.STOP:
                victims = self._living(event.role)
                if not victims:
                    return False
                pid = victims[int(event.chance * len(victims))]
                _send(pid, signal.SIGKILL if event.action is Action.KILL else signal.SIGSTOP)
                if event.action is Action.STOP:
                    self._go_on.append((time.monotonic() + event.seconds, pid))
            case Action.FLUSH:
                if not self._flush():
                    return False
            case Action.KILL_VALKEY | Action.KILL_POSTGRES:
                name = "valkey" if event.action is Action.KILL_VALKEY else "postgres"
                if name not in self._fleet.servers.pids:
                    return False
                self._fleet.servers.kill(name)
        self.trail.append(Happened(event, time.monotonic() - self._began, time.time(), pid))
        return True

    def _living(self, role: str) -> list[int]:
        """The processes of a role that live, in the order in which they were started."""
        of_whom = _WEB if role == _SERVER else role
        masters = [m.process.pid for m in self._fleet.members if m.role == of_whom and m.process.poll() is None]
        if role != _SERVER:
            return masters
        return sorted(pid for master in masters for pid in processor.family(master) if pid != master)

    def _flush(self) -> bool:
        with redis.Redis.from_url(
            self._fleet.servers.redis_url,
            socket_connect_timeout=_REDIS_PATIENCE_SECONDS,
            socket_timeout=_REDIS_PATIENCE_SECONDS,
        ) as client:
            try:
                return bool(client.flushdb())
            except redis.RedisError:  # away itself just now
                return False


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
