"""A chat completion as the chunks of a stream: put together of them, and taken apart into them. Pure.

What is told of a message grows: texts are added to, lists as well, and calls of tools one by one, by their number.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, NamedTuple

# What a later delta says anew, and adds nothing to.
SAID_ANEW = frozenset({"role", "id", "type"})
# Of a chunk, what is not said of the completion as a whole.
_OF_THE_CHUNK = frozenset({"object", "choices", "usage", "obfuscation", "error"})
_OF_THE_CHOICE = frozenset({"index", "delta", "finish_reason"})


class Delta(NamedTuple):
    """What one chunk adds to one choice: to its message, and beside it (log probabilities)."""

    choice: int
    message: Mapping[str, Any]
    beside: Mapping[str, Any]

    @property
    def shows_something(self) -> bool:
        """Whether a reader sees any of it; the first chunk of a stream only says who speaks."""
        return any(value for name, value in self.message.items() if name != "role")


class Grown:
    """An object that deltas add to. Each costs about as much as it is long, however much was said before."""

    def __init__(self) -> None:
        self._members: dict[str, Any] = {}

    def add(self, delta: Mapping[str, Any]) -> None:
        """Adds what one more delta says. Raises TypeError, KeyError or RecursionError for one that is none."""
        members = self._members
        for name, value in delta.items():
            before = members.get(name)
            if type(value) is str and name not in SAID_ANEW:
                if type(before) is not StringIO:
                    members[name] = before = StringIO()
                before.write(value)
            elif value is None:
                members.setdefault(name, None)
            elif name == "tool_calls":
                calls = before if isinstance(before, dict) else members.setdefault(name, {}) or {}
                members[name] = calls
                for number, call in enumerate(value):
                    place = calls.setdefault(call.get("index", number), Grown())
                    place.add({member: said for member, said in call.items() if member != "index"})
            elif isinstance(value, Mapping):
                if type(before) is not Grown:
                    members[name] = before = Grown()
                before.add(value)
            elif isinstance(value, list):
                members[name] = [*(before or ()), *value]
            else:
                members[name] = value

    def whole(self) -> dict[str, Any]:
        """All that was said, as it is told when it is told at once."""
        return {name: _whole(value) for name, value in self._members.items()}


def _whole(value: Any) -> Any:
    match value:
        case StringIO():
            return value.getvalue()
        case Grown():
            return value.whole()
        case dict():  # calls of tools, by their numbers
            return [call.whole() for _, call in sorted(value.items())]
    return value


class Assembly:
    """A completion that is put together of its chunks."""

    def __init__(self) -> None:
        self.frame: dict[str, Any] = {}
        self._messages: dict[int, Grown] = {}
        self._beside: dict[int, Grown] = {}
        self._reasons: dict[int, Any] = {}
        self._usage: Any = None

    def add(self, chunk: Mapping[str, Any]) -> list[Delta]:
        """Adds a chunk; returns what it says of each choice. Raises TypeError, KeyError and the like for none."""
        # Compatible endpoints may leave them out where there are none, but not the text of an answer.
        choices = chunk["choices"] if chunk.get("usage") is None else chunk.get("choices") or []
        # Said anew in every chunk; what the last one says differently is about the whole of it.
        if not choices or not self.frame or chunk.get("id") != self.frame.get("id"):
            self.frame.update({n: value for n, value in chunk.items() if value and n not in _OF_THE_CHUNK})
        if chunk.get("usage") is not None:
            self._usage = chunk["usage"]
        return [self._add_choice(choice) for choice in choices]

    def _add_choice(self, choice: Mapping[str, Any]) -> Delta:
        index = choice["index"]
        delta = Delta(index, choice.get("delta") or {}, {n: choice[n] for n in choice if n not in _OF_THE_CHOICE})
        if index not in self._messages:
            self._messages[index], self._beside[index] = Grown(), Grown()
            self._reasons[index] = None
        self._messages[index].add(delta.message)
        if delta.beside:
            self._beside[index].add(delta.beside)
        if choice.get("finish_reason") is not None:
            self._reasons[index] = choice["finish_reason"]
        return delta

    @property
    def is_whole(self) -> bool:
        """Whether every choice has come to its end, and what it was billed for is known."""
        return self._usage is not None and bool(self._reasons) and None not in self._reasons.values()

    def completion(self) -> dict[str, Any]:
        """What was said so far, in the form of a completion that was not streamed."""
        choices = [
            {
                "index": index,
                "message": message.whole(),
                "finish_reason": self._reasons[index],
                **self._beside[index].whole(),
            }
            for index, message in sorted(self._messages.items())
        ]
        usage = {} if self._usage is None else {"usage": self._usage}
        return {**self.frame, "object": "chat.completion", "choices": choices, **usage}


class Events:
    """The data of server-sent events in a body that comes in pieces."""

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._data: list[bytes] = []

    def of(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event that has its end in this piece."""
        self._line.append(piece)
        if b"\n" not in piece:
            return
        *lines, rest = b"".join(self._line).split(b"\n")
        self._line = [rest]
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].strip())
            elif self._data and line in (b"", b"\r"):
                yield b"\n".join(self._data)
                self._data.clear()


# --- Taking apart -----------------------------------------------------------------------------------------------------
class Contradiction(Exception):
    """What was told is not how it begins: it cannot be gone on with."""


def difference(told: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be added to an object that was told in part, or not at all. Raises Contradiction."""
    if not told.keys() <= whole.keys() | {name for name, value in told.items() if not value}:
        raise Contradiction
    added = {}
    for name, value in whole.items():
        if name in told or name == "tool_calls":
            missing = _missing(name, told.get(name), value)
            if missing:
                added[name] = missing
        elif value or not told:
            added[name] = value
    return added


def _missing(name: str, told: Any, whole: Any) -> Any:
    """What is to be added; None for nothing."""
    match told, whole:
        case _ if told == whole or not (told or whole):
            return None
        case _, list() if name == "tool_calls":
            return list(_missing_calls(told or [], whole))
        case None, _:
            return whole
        case str(), str() if name not in SAID_ANEW and whole.startswith(told):
            return whole[len(told) :]
        case dict(), dict():
            return difference(told, whole)
        case list(), list() if whole[: len(told)] == told:
            return whole[len(told) :]
    raise Contradiction


def _missing_calls(told: Sequence[Mapping[str, Any]], whole: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    if len(told) > len(whole):
        raise Contradiction
    for number, call in enumerate(whole):
        missing = difference(told[number] if number < len(told) else {}, call)
        if missing:
            yield {"index": number, **missing}


def joined(deltas: Iterable[Delta]) -> list[Delta]:
    """The same deltas, with texts that follow each other in one."""
    found: list[Delta] = []
    for delta in deltas:
        last = found[-1] if found else None
        if last and last.choice == delta.choice and _is_text(last) and _is_text(delta):
            said = str(last.message["content"]) + str(delta.message["content"])
            found[-1] = Delta(last.choice, {"content": said}, {})
        else:
            found.append(delta)
    return found


def _is_text(delta: Delta) -> bool:
    message = delta.message
    is_alone = len(message) == 1 and not any(delta.beside.values())
    return is_alone and isinstance(message.get("content"), str)
