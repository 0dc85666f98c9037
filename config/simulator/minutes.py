"""The busiest minute: what a limit per minute let through at most, over every window of sixty seconds there was."""

from collections import deque
from dataclasses import dataclass, field

from config.simulator.limiter import WINDOW_NS


@dataclass(slots=True)
class Minutes:
    """What was admitted of one model family; exact, because the most is always reached at an admission."""

    requests: int = 0
    tokens: int = 0
    most_requests: int = 0
    most_tokens: int = 0
    _last: deque[tuple[int, int]] = field(default_factory=deque)  # instant and tokens of the last minute's admissions
    _last_tokens: int = 0

    def admit(self, tokens: int, now: int) -> None:
        """Counts one request; `now` in nanoseconds of a clock that never goes back."""
        while self._last and self._last[0][0] <= now - WINDOW_NS:
            self._last_tokens -= self._last.popleft()[1]
        self._last.append((now, tokens))
        self._last_tokens += tokens
        self.requests += 1
        self.tokens += tokens
        self.most_requests = max(self.most_requests, len(self._last))
        self.most_tokens = max(self.most_tokens, self._last_tokens)

    def body(self) -> dict[str, int]:
        return {
            "requests": self.requests,
            "tokens": self.tokens,
            "most_requests_in_a_minute": self.most_requests,
            "most_tokens_in_a_minute": self.most_tokens,
        }
