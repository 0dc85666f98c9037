"""A flood of ours and somebody else on the same account, on the limiter's real scripts and the simulator's provider.

Minutes pass in a second, by a clock that is set. Times in ms since the start.
"""

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

from accounts.models import RateLimit
from config.simulator.limiter import Admission, Limiter
from config.simulator.models import Limits
from jobs import limiter
from jobs.limiter import Asking, Go, Turn
from tests.jobs.limiter_world import CLOCK, MINUTE_MS, World

FAMILY = "o1-mini"
LIMIT = 600  # calls a minute, whichever limit binds
TOKENS = 1_000  # of each call
ROUND_MS = 250
BATCH = 20
# What others send: instants, and how many calls each.
Others = Iterator[tuple[float, int]]


def steady(share: float, begins: int, ends: int, chance: random.Random) -> Others:
    """At random instants, so many a minute."""
    at = float(begins)
    while (at := at + chance.expovariate(share * LIMIT / MINUTE_MS)) < ends:
        yield at, 1


def bursts(share: float, begins: int, ends: int, every: int) -> Others:
    """As many a minute, but all of them at once, every so often."""
    for at in range(begins, ends, every):
        yield float(at), round(share * LIMIT * every / MINUTE_MS)


@dataclass
class Shared:
    """One account in a flood of our calls, each `call_ms` long, bound by requests or by tokens."""

    others: Others
    call_ms: Callable[[random.Random], float]
    bound_by_tokens: bool = False
    minutes: int = 8
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    account: str = field(default_factory=lambda: uuid4().hex)
    now: float = 0.0
    events: list[tuple[float, int, str, object]] = field(default_factory=list)
    # Instants of what the provider admitted; of our refused calls also when their turn was given.
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    refused: list[tuple[float, float]] = field(default_factory=list)
    # When the first refusal was learnt of.
    first_sign: float = float("inf")

    def __post_init__(self) -> None:
        requests, tokens = (10 * LIMIT, LIMIT * TOKENS) if self.bound_by_tokens else (LIMIT, 10 * LIMIT * TOKENS)
        self.limits = RateLimit(requests_per_minute=requests, tokens_per_minute=tokens)
        self._stated = Limits(requests, tokens)
        self._provider = Limiter(clock=lambda: int(self.now * 1e6))

    def play(self) -> "Shared":
        for at, calls in self.others:
            self._at(at, "theirs", calls)
        for at in range(0, self.minutes * MINUTE_MS, ROUND_MS):
            self._at(at, "round", None)
        while self.events:
            self.now, _, kind, what = heapq.heappop(self.events)
            getattr(self, f"_{kind}")(what)
        return self

    def used_of_the_rest(self, begins: int, ends: int) -> float:
        """The share that we had of what others left."""
        rest = LIMIT * (ends - begins) / MINUTE_MS - sum(begins <= at < ends for at in self.theirs)
        return sum(begins <= at < ends for at in self.ours) / rest

    def refused_after_the_first_sign(self) -> int:
        return sum(given > self.first_sign for given, _ in self.refused)

    def _at(self, at: float, kind: str, what: object) -> None:
        heapq.heappush(self.events, (at, len(self.events) + self.chance.randrange(10**9) * 10**6, kind, what))

    def _send(self) -> Admission:
        return self._provider.admit(model=FAMILY, family=FAMILY, organization="one", limits=self._stated, tokens=TOKENS)

    def _theirs(self, calls: int) -> None:
        self.theirs += [self.now for _ in range(calls) if self._send().refusal is None]

    def _round(self, _: None) -> None:
        limiter.connection().set(CLOCK, World.EPOCH_MS + self.now)
        asking = Asking(self.account, FAMILY, self.limits, TOKENS)
        while True:
            taken = [a for a in limiter.admit_all([asking] * BATCH) if isinstance(a, Go)]
            for admission in taken:
                starts = admission.turn.instants_us[1] / 1000 - World.EPOCH_MS
                self._at(starts + self.chance.uniform(1, 100), "ours", (admission.turn, self.now))
            if len(taken) < BATCH:
                return

    def _ours(self, call: tuple[Turn, float]) -> None:
        turn, given = call
        answer = self._send()
        lasts = self.call_ms(self.chance)
        if answer.refusal is None:
            self.ours.append(self.now)
        else:
            self.refused.append((given, self.now))
            lasts = 20.0
        self._at(self.now + lasts, "answer", (turn, answer, self.now))

    def _answer(self, told: tuple[Turn, Admission, float]) -> None:
        turn, answer, sent = told
        limiter.connection().set(CLOCK, World.EPOCH_MS + self.now)
        limiter.learn(turn, answer.standing.headers(), sent_us=int((World.EPOCH_MS + sent) * 1000))
        if answer.refusal is not None:
            limiter.hold_back(self.account, FAMILY, float(answer.refusal.headers["retry-after"]))
            self.first_sign = min(self.first_sign, self.now)
