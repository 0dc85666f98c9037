"""What the simulator has seen since its start or the last reset; tests read it, the bill does not depend on it."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from config.simulator.errors import ApiError
from config.simulator.minutes import Minutes


@dataclass(slots=True)
class KeyCounters:
    """What came with one API key; `tokens` as the rate limit counts them, of the calls that it let through."""

    requests: int = 0
    admitted: int = 0
    tokens: int = 0
    rate_limited: int = 0


@dataclass(slots=True)
class Counters:
    """Counts of calls that create completions and responses; `in_flight` are those accepted and not finished.

    Keys go by their last four characters, as in the bill.
    """

    requests: int = 0
    answered: int = 0
    billed: int = 0
    looks: int = 0  # at responses: how often they were retrieved
    in_flight: int = 0
    max_in_flight: int = 0
    requests_by_model: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    families: defaultdict[str, Minutes] = field(default_factory=lambda: defaultdict(Minutes))
    keys: defaultdict[str, KeyCounters] = field(default_factory=lambda: defaultdict(KeyCounters))

    @contextmanager
    def flight(self) -> Iterator[None]:
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def arrive(self, key: str) -> None:
        self.keys[key[-4:]].requests += 1

    def admit(self, key: str, family: str, tokens: int) -> None:
        """A request that the rate limits let through."""
        self.families[family].admit(tokens, time.monotonic_ns())
        counters = self.keys[key[-4:]]
        counters.admitted += 1
        counters.tokens += tokens

    def reject(self, error: ApiError, key: str | None) -> None:
        """A request that was refused; `key` None when it came without one that is accepted."""
        self.rejected[f"{error.status} {error.code or error.type}"] += 1
        if key is not None and error.status == 429:
            self.keys[key[-4:]].rate_limited += 1

    def reset(self) -> None:
        """Back to nothing, but for the calls that are under way."""
        self.requests = self.answered = self.billed = self.looks = 0
        self.max_in_flight = self.in_flight
        for counter in (self.requests_by_model, self.rejected, self.faults, self.families, self.keys):
            counter.clear()

    def body(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "answered": self.answered,
            "billed": self.billed,
            "looks": self.looks,
            "rejected": dict(self.rejected),
            "rate_limited": sum(count for name, count in self.rejected.items() if name.startswith("429 ")),
            "faults": dict(self.faults),
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "requests_by_model": dict(self.requests_by_model),
            "families": {name: minutes.body() for name, minutes in self.families.items()},
            "keys": {name: asdict(counters) for name, counters in self.keys.items()},
        }
