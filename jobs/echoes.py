"""What the provider says of a call that failed, without what it was told: neither the prompt nor a key.

Its words go to many places: the job, its attempts, the ledger's reasons, breakers, alerts and the log. Prompts belong
into the content alone, and keys nowhere.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

GONE = "[...]"
# A run that long, which the prompt has as well, is taken for the prompt's; and a shorter text where it is there whole.
SHORTEST_RUN, SHORTEST_TEXT = 16, 8
# What is said at more length than this is cut: nobody reads it, and every place in it is looked for in the prompt.
LONGEST = 5000
# Keys of the provider and of Bursar, whoever's they are.
_KEY = re.compile(r"\b(sk-|bk_live_|whsec_)[A-Za-z0-9_+/=*-]{4,}")
_NAME = re.compile(r"[\w.:/\[\] -]*")
# Where a request has people's words: of chat, and of responses.
_SPOKEN = ("messages", "input", "instructions", "prediction", "tools", "functions", "response_format", "text")


@dataclass(frozen=True, slots=True)
class Echo:
    """What one call was told. Reading it costs something, and is done where a call failed alone."""

    key: str = field(repr=False)
    texts: tuple[str, ...] = field(repr=False)

    def out_of(self, said: str) -> str:
        """What was said, with `[...]` for each part of the prompt, and without keys."""
        said = said[:LONGEST]
        if len(self.key) >= SHORTEST_TEXT:
            said = said.replace(self.key, GONE)
        said = _KEY.sub(r"\1" + GONE, said)
        for text in self.texts:
            if SHORTEST_TEXT <= len(text) < SHORTEST_RUN:
                said = said.replace(text, GONE)
        return _without_runs(said, [text for text in self.texts if len(text) >= SHORTEST_RUN])

    def out_of_name(self, name: str) -> str:
        """A code, type or parameter; empty where it is none, but something else that was put there."""
        return self.out_of(name) if _NAME.fullmatch(name) else ""


def echo_of(key: str | None, request: Mapping[str, Any] | None) -> Echo:
    """What the provider may repeat of a request that was sent with this key."""
    spoken = {
        text
        for part in _SPOKEN
        for leaf in _texts((request or {}).get(part))
        # As it is, and as it stands in JSON that is quoted in an error.
        for text in (leaf, json.dumps(leaf)[1:-1], json.dumps(leaf, ensure_ascii=False)[1:-1])
    }
    return Echo(key or "", tuple(sorted(spoken, key=len, reverse=True)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _without_runs(said: str, texts: Sequence[str]) -> str:
    """What was said without the runs of the texts that are long enough to be no chance; the longest at each place."""
    kept: list[str] = []
    here = begun = 0
    while here <= len(said) - SHORTEST_RUN:
        length = max((_run(said, here, text) for text in texts), default=0)
        if length:
            kept += [said[begun:here], GONE]
            begun = here + length
        here += length or 1
    return "".join(kept) + said[begun:]


def _run(said: str, here: int, text: str) -> int:
    """How long a run of the text begins here; 0 for none that is long enough."""
    there = text.find(said[here : here + SHORTEST_RUN])
    if there < 0:
        return 0
    length = SHORTEST_RUN
    while said[here + length : here + length + 1] == text[there + length : there + length + 1] != "":
        length += 1
    return length
