"""What the simulator has seen since its start or the last reset; tests read it, the bill does not depend on it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from config.simulator.errors import ApiError


@dataclass(slots=True)
class Counters:
    """Counts of calls to `POST /v1/chat/completions`; `in_flight` are those accepted and not finished."""

    requests: int = 0
    answered: int = 0
    billed: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    requests_by_model: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def flight(self) -> Iterator[None]:
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def reject(self, error: ApiError) -> None:
        self.rejected[f"{error.status} {error.code or error.type}"] += 1

    def reset(self) -> None:
        """Back to nothing, but for the calls that are under way."""
        self.requests = self.answered = self.billed = 0
        self.max_in_flight = self.in_flight
        for counter in (self.requests_by_model, self.rejected, self.faults):
            counter.clear()

    def body(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "answered": self.answered,
            "billed": self.billed,
            "rejected": dict(self.rejected),
            "rate_limited": sum(count for name, count in self.rejected.items() if name.startswith("429 ")),
            "faults": dict(self.faults),
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "requests_by_model": dict(self.requests_by_model),
        }
