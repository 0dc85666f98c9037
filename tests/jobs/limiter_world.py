"""A small world around the limiter's real scripts on a real Valkey: a clock to be set, a provider, and its other users.

The provider is an exact model: fractions, one bucket a limit, and every call that arrives is judged.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from struct import unpack_from
from uuid import uuid4

import pytest

from accounts.models import RateLimit
from config.simulator.limiter import go_duration
from jobs import limiter
from jobs.limiter import Bucket, Go, Turn

CLOCK = "tests:limiter:clock"
TOKENS = 6_000
REQUESTS = 60
PROJECT_REQUESTS = 20
MINUTE_MS = 60_000
FAMILY = "o1-mini"
SOURCES = {
    "_admission_script": "admission.lua",
    "_return_script": "return.lua",
    "_correction_script": "correction.lua",
    "_hold_back_script": "holding_back.lua",
    "_room_script": "room.lua",
    "_slowing_script": "slowing.lua",
}
# What a schedule is made of: a kind, and two shares that mean something else for each.
Step = tuple[str, float, float]
KINDS = ("ask", "ask", "ask", "project", "pass", "lose", "give_back", "give_back")
KINDS_WITH_OTHERS = (*KINDS, "others", "answer", "answer")


@dataclass
class Level:
    """One bucket at the provider."""

    limit: int
    used: Fraction = Fraction(0)
    at: Fraction = Fraction(0)

    def drain(self, now: Fraction) -> None:
        self.used = max(Fraction(0), self.used - (now - self.at) * self.limit / MINUTE_MS)
        self.at = now


@dataclass
class Call:
    turn: Turn
    costs: dict[str, int]
    arrives: Fraction
    heard: int  # the event up to which the use of others was known when the turn was given


@dataclass
class World:
    """Times in ms since the start. `refused` collects the calls that the provider would have refused, and why."""

    account: str = field(default_factory=lambda: uuid4().hex)
    now: int = 0
    lateness: bool = True
    levels: dict[str, Level] = field(
        default_factory=lambda: {
            "requests_per_minute": Level(REQUESTS),
            "tokens_per_minute": Level(TOKENS),
            "project:1:requests_per_minute": Level(PROJECT_REQUESTS),
        }
    )
    coming: list[Call] = field(default_factory=list)
    lost: list[Call] = field(default_factory=list)  # will not be sent, and the turn may be given back
    answers: list[tuple[Turn, dict[str, str], Fraction, int]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    # Arrivals and what others do, in their order: instants can be equal.
    events: int = 0
    others: int = 0
    heard: int = 0
    given: int = 0

    EPOCH_MS = 1_790_000_000_000

    def play(self, steps: Sequence[Step]) -> list[str]:
        """What was refused in a schedule, and in the hour after it."""
        self.pass_time(0)
        for step in steps:
            self.do(*step)
        self.pass_time(3_600_000)
        return self.refused

    def do(self, kind: str, x: float, y: float) -> None:
        """One step, a millisecond after the last one."""
        self.pass_time(1)
        match kind:
            case "ask" | "project":
                tokens = 1 + int((TOKENS - 1) * (x**4 if x < 0.95 else 1.0))
                self.ask(tokens, is_project=kind == "project", late=y)
            case "pass":
                self.pass_time(int(20_000 * x**3))
            case "lose" if self.coming:
                self.lost.append(self.coming.pop(int(x * (len(self.coming) - 1))))
            case "give_back" if y < 0.5 and self.coming:
                limiter.give_back(self.coming.pop(int(x * (len(self.coming) - 1))).turn)
            case "give_back" if y >= 0.5 and self.lost:
                limiter.give_back(self.lost.pop(int(x * (len(self.lost) - 1))).turn)
            case "others":
                self.use_by_others(int(TOKENS * x / 2))
            case "answer" if self.answers:
                turn, headers, arrived, event = self.answers.pop(int(x * (len(self.answers) - 1)))
                sent_us = int((self.EPOCH_MS + arrived) * 1000)
                is_exact = self.tells_all(turn)
                limiter.learn(turn, headers, sent_us=sent_us)
                if is_exact:
                    self.heard = max(self.heard, event)

    def tells_all(self, turn: Turn) -> bool:
        """Whether an answer says exactly what others used: hardly a call can have overtaken this one."""
        fields = limiter.connection().hgetall(limiter._key(self.account, FAMILY))
        for bucket, (taken, is_latest), room in zip(turn.buckets[:2], turn.counts, turn.room, strict=False):
            after = unpack_from(">d", fields[bucket.name.encode()], 5 * 8)[0] - taken
            if not is_latest or min(after, room) > 0.02 * bucket.limit:
                return False
        return True

    def ask(self, tokens: int, *, is_project: bool = False, late: float = 0.0, horizon: float = 30.0) -> Go | None:
        costs = {"requests_per_minute": 1, "tokens_per_minute": tokens}
        more = []
        if is_project:
            costs["project:1:requests_per_minute"] = 1
            more = [Bucket("project:1:requests_per_minute", PROJECT_REQUESTS, MINUTE_MS, 1)]
        limits = RateLimit(requests_per_minute=REQUESTS, tokens_per_minute=TOKENS)
        admission = limiter.admit(self.account, FAMILY, limits, tokens=tokens, horizon_seconds=horizon, more=more)
        if not isinstance(admission, Go):
            return None
        assert admission.turn is not None
        start = Fraction(admission.turn.instants_us[1], 1000) - self.EPOCH_MS
        arrives = start + (Fraction(int(late * 1000)) if self.lateness else 0)
        self.coming.append(Call(admission.turn, costs, arrives, self.heard))
        self.given += 1
        return admission

    def use_by_others(self, tokens: int) -> None:
        """Somebody else on the account, as far as the provider lets them."""
        for name, amount in (("requests_per_minute", 1), ("tokens_per_minute", tokens)):
            level = self.levels[name]
            level.drain(Fraction(self.now))
            level.used = min(level.used + amount, Fraction(level.limit))
        self.events += 1
        self.others = self.events

    def pass_time(self, milliseconds: int) -> None:
        until = self.now + milliseconds
        self.coming.sort(key=lambda call: call.arrives)
        while self.coming and self.coming[0].arrives <= until:
            self.arrive(self.coming.pop(0))
        self.now = until
        limiter.connection().set(CLOCK, self.EPOCH_MS + self.now)

    def arrive(self, call: Call) -> None:
        levels = {name: self.levels[name] for name in call.costs}
        for level in levels.values():
            level.drain(call.arrives)
        # A millionth for the instants that the scripts round.
        full = [n for n, level in levels.items() if level.used + call.costs[n] > level.limit * (1 + Fraction(1, 10**6))]
        if full and call.heard >= self.others:
            self.refused.append(f"{full} at {float(call.arrives)} ms")
        for name, level in levels.items():
            level.used = min(level.used + call.costs[name], Fraction(level.limit))
        self.events += 1
        self.answers.append((call.turn, self.headers(levels), call.arrives, self.events))

    def headers(self, levels: Mapping[str, Level]) -> dict[str, str]:
        said = {}
        for unit in ("requests", "tokens"):
            level = levels[f"{unit}_per_minute"]
            said[f"x-ratelimit-limit-{unit}"] = str(level.limit)
            said[f"x-ratelimit-remaining-{unit}"] = str(int(level.limit - level.used))
            said[f"x-ratelimit-reset-{unit}"] = go_duration(int(level.used * MINUTE_MS / level.limit))
        return said


@contextmanager
def scripts_by_a_clock_to_be_set(changes: Mapping[str, str] | None = None) -> Iterator[None]:
    """The real scripts, reading the time from a key; `changes` plants bugs: each text is replaced by another."""

    def source(name: str) -> str:
        text = limiter._source(name).replace(
            "local time = redis.call('TIME')", f"local time = {{math.floor(redis.call('GET', '{CLOCK}') / 1000), 0}}"
        )
        return text.replace(
            "local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000",
            f"local now = tonumber(redis.call('GET', '{CLOCK}'))",
        )

    texts = {getter: source(name) for getter, name in SOURCES.items()}
    for old, new in (changes or {}).items():
        assert any(old in text for text in texts.values()), f"nothing reads {old!r} any more"
        texts = {getter: text.replace(old, new) for getter, text in texts.items()}
    with pytest.MonkeyPatch.context() as patch:
        for getter, text in texts.items():
            script = limiter._Script(text)
            patch.setattr(limiter, getter, lambda script=script: script)
        yield
