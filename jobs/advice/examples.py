"""Worked examples in a prompt: pairs of what comes in and what is to go out, before the one that is asked about."""

import re
from collections.abc import Sequence
from itertools import pairwise

from jobs.advice.advice import Text
from jobs.advice.layout import Layout

# Fewer show a format, and are no examples to learn from.
LEAST = 2
# Answers that are so short, to so many questions in a row, are no conversation.
SHORT_ANSWER, LEAST_TURNS = 120, 3
MOST_LABELS = 400
_LABEL = re.compile(r"[ \t>*-]{0,6}([^\W\d_][\w -]{0,24}?)[ \t]?\d{0,3}\*{0,2}:[ \t]*")
LONGEST_LABEL = 40
_PAIRS = frozenset(
    {
        *(("input", "output"), ("question", "answer"), ("q", "a"), ("user", "assistant"), ("source", "target")),
        *(("eingabe", "ausgabe"), ("frage", "antwort"), ("entrée", "sortie"), ("entrada", "salida")),
        *(("entrada", "saída"), ("ingresso", "uscita"), ("before", "after"), ("problem", "solution")),
    }
)
_TITLE = re.compile(
    r"[ \t#*]{0,8}(?:example|beispiel|exemple|ejemplo|esempio|exemplo|shot)[ \t]*\d{0,3}\*{0,2}:?[ \t]*$"
)
_WORDS = ("example", "beispiel", "exemple", "ejemplo", "esempi", "exemplo", "like this", "as shown", "same style")
_MORE_WORDS = ("the same way", "in the style")
_ARROWS = ("->", "=>", "→", "⇒")
ARROWS_WITHIN = 4000
_QUOTED_ARROW = re.compile(r'"[^"]{1,200}" (?:->|=>|→|⇒) \S')
_PHRASE = re.compile(r"[^\n;]+")


def shown(layout: Layout) -> tuple[int, int] | None:
    """Where the examples of a text begin and end."""
    return _tagged(layout) or _titled(layout) or _labelled(layout) or _arrows(layout)


def turns(texts: Sequence[Text]) -> Text | None:
    """The first message of a conversation that is made up of examples."""
    answers = [text for text in texts if text.role == "assistant"]
    if len(answers) < LEAST_TURNS or texts[0].role not in {"system", "developer"}:
        return None
    if any(not 0 < len(text.text) <= SHORT_ANSWER or "?" in text.text for text in answers):
        return None
    roles = [text.role for text in texts[1:]]
    return texts[1] if roles[-1] == "user" and all(a != b for a, b in pairwise(roles)) else None


def _tagged(layout: Layout) -> tuple[int, int] | None:
    low = layout.text.low
    first = low.find("<example>")
    if first < 0 or low.count("<example>", first) < LEAST:
        return None
    return first, max(low.rfind("</example>"), first) + len("</example>")


def _titled(layout: Layout) -> tuple[int, int] | None:
    if _announced_at(layout) < 0:
        return None
    # A line that long is no title.
    found = [at for at, line in layout.lines if len(line) <= LONGEST_LABEL and _TITLE.match(line.lower())]
    return (found[0], found[-1]) if len(found) >= LEAST else None


def _announced_at(layout: Layout) -> int:
    """Where examples are spoken of first; -1: nowhere."""
    low = layout.text.low
    return min((at for word in (*_WORDS, *_MORE_WORDS) if (at := low.find(word)) >= 0), default=-1)


def _labelled(layout: Layout) -> tuple[int, int] | None:
    """Two labels by turns, twice at least, and then the first of them once more."""
    low = layout.text.low
    if ":" not in low or "\n" not in low:
        return None
    labels = _labels(layout)
    if len(labels) < 2 * LEAST:
        return None
    announced_at = _announced_at(layout)
    is_open = bool(labels) and not low[labels[-1][2] :].strip()
    i = 0
    while i < len(labels) - 2 * LEAST + 1:
        first, second = labels[i][0], labels[i + 1][0]
        count = _turns_of(labels, i, 2)
        if first == second or count < 2 * LEAST:
            i += 1
            continue
        is_last = is_open and i + count == len(labels)
        is_known = (first, second) in _PAIRS
        is_announced = 0 <= announced_at < labels[i][1]
        if (is_last and count % 2 == 0) or (count % 2 and (is_known or is_announced)) or (is_known and is_announced):
            return labels[i][1], labels[i + count - 1][1]
        i += count - 1
    return _thrice(labels, is_open=is_open)


def _labels(layout: Layout) -> list[tuple[str, int, int]]:
    """What stands before a colon at the beginning of a line: its words, where they begin, where what follows does."""
    found = []
    for at, line in layout.lines:
        if ":" in line[:LONGEST_LABEL] and (match := _LABEL.match(line)):
            found.append((match[1].strip().lower(), at, at + match.end()))
            if len(found) == MOST_LABELS:
                break
    return found


def _turns_of(labels: list[tuple[str, int, int]], i: int, step: int) -> int:
    """How many labels from the i-th on repeat what stands `step` before."""
    count = step
    while i + count < len(labels) and labels[i + count][0] == labels[i + count - step][0]:
        count += 1
    return count


def _thrice(labels: list[tuple[str, int, int]], *, is_open: bool) -> tuple[int, int] | None:
    """Three labels by turns, the last of them left open."""
    last = labels[-3 * (LEAST + 1) :]
    names = [name for name, _, _ in last]
    if is_open and len(names) == 3 * (LEAST + 1) and names[:3] == names[3:6] == names[6:]:
        return last[0][1], last[-1][1]
    return None


def _arrows(layout: Layout) -> tuple[int, int] | None:
    """Lines or phrases with an arrow, of which the last points at nothing."""
    end = layout.text.low.rstrip()
    if not end.endswith(_ARROWS):
        return _quoted_arrows(end)
    begin = max(0, len(end) - ARROWS_WITHIN)
    phrases = [match for match in _PHRASE.finditer(end, begin) if any(f" {arrow}" in match[0] for arrow in _ARROWS)]
    whole = [match for match in phrases if not match[0].rstrip().endswith(_ARROWS)]
    return (whole[0].start(), whole[-1].end()) if len(whole) >= LEAST else None


def _quoted_arrows(text: str) -> tuple[int, int] | None:
    """Lines of a quotation and an arrow, and a quotation alone at the end."""
    last = text.rfind("\n") + 1
    if text[last : last + 1] != '"' or any(arrow in text[last:] for arrow in _ARROWS):
        return None
    begin = max(0, len(text) - ARROWS_WITHIN)
    lines = [line for line in _PHRASE.finditer(text, begin) if _QUOTED_ARROW.match(line[0])]
    return (lines[0].start(), lines[-1].end()) if len(lines) >= LEAST else None
