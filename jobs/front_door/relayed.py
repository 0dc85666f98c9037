"""What one client was told of an answer while it was made, and what is missing when it is there."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from accounts.secrets import SecretUnreadable
from jobs.relay.messages import opened
from jobs.streams import Contradiction, Delta, Grown, difference

_KEPT_APART = frozenset({"index", "message", "finish_reason"})


class Restarted(Exception):
    """Another attempt answers anew, and the client has some of what an earlier one said."""


class Relayed:
    """Nothing is told that does not follow what was told before: after a gap the client hears no more until the end."""

    def __init__(self, job_id: UUID):
        self.job_id = job_id
        self.frame: Mapping[str, Any] = {}
        self._attempt = self._next = 0
        self._is_deaf = False
        self._told: dict[int, tuple[Grown, Grown]] = {}

    def take(self, messages: Iterable[bytes]) -> list[Delta]:
        """What the client may be told of these messages, in order. Raises Restarted."""
        return [delta for told in messages for delta in self._take(told)]

    def _take(self, told: bytes) -> Sequence[Delta]:
        try:
            message = opened(self.job_id, told)
        except SecretUnreadable:
            self._is_deaf = True
            return ()
        if message.attempt > self._attempt:
            if self._told:
                raise Restarted
            self._attempt, self._next, self._is_deaf = message.attempt, 0, False
        if self._is_deaf or message.attempt < self._attempt or message.number < self._next:
            return ()
        if message.number > self._next:
            self._is_deaf = True
            return ()
        self._next += 1
        self.frame = message.frame or self.frame
        for delta in message.deltas:
            grown, beside = self._told.setdefault(delta.choice, (Grown(), Grown()))
            grown.add(delta.message)
            beside.add(delta.beside)
        return message.deltas

    def rest(self, choices: Sequence[Mapping[str, Any]]) -> list[Delta]:
        """What is missing of the choices of the whole answer. Raises Contradiction where they begin otherwise."""
        if not self._told.keys() <= {choice["index"] for choice in choices}:
            raise Contradiction
        return [self._rest_of(choice) for choice in choices]

    def _rest_of(self, choice: Mapping[str, Any]) -> Delta:
        told, beside = self._told.get(choice["index"]) or (Grown(), Grown())
        others = {name: value for name, value in choice.items() if name not in _KEPT_APART}
        return Delta(choice["index"], difference(told.whole(), choice["message"]), difference(beside.whole(), others))
