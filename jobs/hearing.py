"""One stream of the provider as a worker hears it: put together as it comes, and told on to whoever listens."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from jobs.streams import Assembly, Delta, Events

# What reading a chunk that is none raises.
UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)
END = b"[DONE]"


class Tell(Protocol):
    """Told on the event loop, so it only takes note."""

    def __call__(self, frame: Mapping[str, Any], delta: Delta) -> None: ...


class Hearing:
    """`fault`: why what was heard is no completion, from the first chunk on that is none; nothing after it is read.

    The rest of such a stream is let pass all the same: who hangs up may keep the provider from ending the work.
    `error`: what the provider says in the stream itself went wrong.
    """

    def __init__(self, tell: Tell | None = None) -> None:
        self._tell = tell
        self._events = Events()
        self._assembly = Assembly()
        self.headers: Mapping[str, str] | None = None
        self.fault: BaseException | None = None
        self.error: Mapping[str, Any] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the provider answered by a stream; one that does not know streams answers whole."""
        return self.headers is not None

    @property
    def is_whole(self) -> bool:
        """Whether all of the answer was heard, and its usage; whatever comes after that is no part of it."""
        return self._assembly.is_whole

    def begin(self, headers: Mapping[str, str]) -> None:
        """The stream is there, and what stands beside it."""
        self.headers = headers

    def hear(self, piece: bytes) -> None:
        """Some more of it. Raises nothing: whoever reads the connection reads it to its end."""
        if self.fault is not None or self.error is not None:
            return
        try:
            for data in self._events.of(piece):
                if data != END:
                    self._add(json.loads(data))
        except UNREADABLE as error:
            self.fault = error

    def completion(self) -> dict[str, Any]:
        """What was heard, as an answer that was not streamed. Raises one of UNREADABLE for a stream with a fault."""
        if self.fault is not None:
            raise ValueError(f"a chunk could not be read: {type(self.fault).__name__}")
        return self._assembly.completion()

    def _add(self, chunk: Mapping[str, Any]) -> None:
        if chunk.get("error") is not None:
            said = chunk["error"]
            self.error = said if isinstance(said, Mapping) else {"message": str(said)}
            return
        for delta in self._assembly.add(chunk):
            if self._tell is not None:
                self._tell(self._assembly.frame, delta)
