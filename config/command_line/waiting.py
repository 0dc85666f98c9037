"""How jobs are waited for: several at once, with their number, tokens and dollars as they end."""

import time
from collections import Counter, deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

from config.command_line.api import Api, segment
from config.command_line.endings import Ending
from config.command_line.money import cost, total_tokens, usd
from config.command_line.terminal import Terminal, bar

# In doubt is no end for the books, but nobody waits at a terminal for what may take a day.
ENDED = frozenset({"succeeded", "incomplete", "failed", "cancelled", "in_doubt"})
FINAL = ENDED - {"in_doubt"}
_AT_ONCE = 32
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0


class Tally:
    """How many jobs have ended how, with their tokens and money; shown as it grows."""

    def __init__(self, terminal: Terminal, total: int):
        self._terminal, self._total, self._began = terminal, total, time.monotonic()
        self.statuses: Counter[str] = Counter()
        self.refused, self.sent, self.tokens, self.usd = 0, 0, 0, Decimal(0)

    def note(self, job: dict[str, Any]) -> None:
        """A job that has ended."""
        self.statuses[job["status"]] += 1
        self.tokens += total_tokens(job)
        self.usd += cost(job)

    @property
    def done(self) -> int:
        return self.statuses.total() + self.refused

    @property
    def ending(self) -> Ending:
        """0 where every job has succeeded."""
        return Ending.OK if self.statuses["succeeded"] == self.done else Ending.FAILED

    def show(self) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        filled = bar(self.done, self._total).replace(" ", "·")
        sent = f", {self.sent} sent" if self.sent and self.sent < self._total else ""
        self._terminal.progress(
            f"{filled} {self.done}/{self._total}{sent}  {self.tokens:,} tokens  {usd(self.usd)} USD  "
            f"{minutes:02}:{seconds:02}"
        )

    def tell(self) -> None:
        """The result in words."""
        parts = [f"{number} {status}" for status, number in sorted(self.statuses.items())]
        parts += [f"{self.refused} refused"] if self.refused else []
        self._terminal.say(f"{', '.join(parts) or 'nothing'}: {self.tokens:,} tokens, {usd(self.usd)} USD")


class Waiting:
    """Jobs that have not ended, looked at in turn: some at a time, several at once."""

    def __init__(self, api: Api, ids: Iterable[str], pool: ThreadPoolExecutor):
        self._api, self._pool = api, pool
        self._ids = deque(ids)
        self._pause = _FIRST_PAUSE

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> list[str]:
        return list(self._ids)

    def add(self, job_id: str) -> None:
        self._ids.append(job_id)

    def look(self) -> list[dict[str, Any]]:
        """Looks at the next of them; those that have ended, which are no longer waited for. Raises Refused."""
        some = [self._ids[n] for n in range(min(_AT_ONCE, len(self._ids)))]
        found = list(self._pool.map(lambda job_id: self._api.get(f"jobs/{segment(job_id)}"), some))
        # Not before all were answered: whoever stops us in between still finds each of them here.
        for _ in some:
            self._ids.popleft()
        self._ids.extend(job_id for job_id, job in zip(some, found, strict=True) if job["status"] not in ENDED)
        ended = [job for job in found if job["status"] in ENDED]
        self._pause = _FIRST_PAUSE if ended else min(self._pause * 1.5, _LONGEST_PAUSE)
        return ended

    def rest(self) -> None:
        """Waits a little, longer each time that nothing has ended."""
        time.sleep(self._pause)
