"""How a text is laid out: which parts of it are material that the request is about, and how those are set off.

One pass for each kind of mark, whatever the text is: what opens is looked up where it closes, never searched for.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from jobs.advice.advice import Text

_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})", re.MULTILINE)
_TRIPLE = re.compile(r'"""|\'\'\'')
_TAG = re.compile(r"<(/?)([A-Za-z][\w.-]{0,40})(?:\s[^<>]{0,200})?(/?)>")
_RULE = re.compile(r"[ \t]{0,3}(?:-{3,}|={3,}|\*{3,}|_{3,}|#{3,}|<{3,}|>{3,})[ \t]*$")
_RULED_BY = frozenset("-=*_#<> \t")
_MARKS_OF_RULES = ("---", "===", "***", "___", "###", "<<<", ">>>")
# A title of a section: a Markdown heading, or a label that has a line to itself, or that its text follows.
_TITLE = re.compile(r"#{1,6}[ \t]+([^\n]{1,80})|([^\W\d][\w /.'-]{0,30}?(?: ?\d{1,3})?):(?=[ \t]|$)")
# So far into its line a label may reach.
LONGEST_LABEL = 36
# Passages with a number each, as retrieval puts them.
_NUMBERED = re.compile(r"\[\d{1,3}\][ \t]+\S")
# A question behind the last section is no part of it.
_LAST_QUESTION = re.compile(r"\n[ \t]*\n([^\n]{5,300}\?)\s*\Z")
_QUOTED_LINE = re.compile(r"^>[^\n]*(?:\n>[^\n]*)*", re.MULTILINE)
# What stands under such a name is still the request, and not what it is about.
_OF_THE_REQUEST = re.compile(
    r"\b(?:instructions?|tasks?|questions?|rules?|requirements?|formats?|output|prompt|query|role|system|goals?|"
    r"steps?|"
    r"approach|constraints?|notes?|guidelines|aufgabe|anweisung(?:en)?|frage|regeln|tâche|consignes?|tarea|"
    r"pregunta)\b"
)
_OF_MATERIAL = re.compile(
    r"\b(?:context|kontext|contexte|contexto|documents?|text|texte?|texto|articles?|e-?mails?|sources?|handbook|"
    r"transcript|chunks?|passages?|data|code|logs?|contract|policy|review|minutes|essay|letter|reports?|material|"
    r"ticket|message|diff|dokumente?|quellen?|wiki|background)\b"
)
_OPENING_QUOTES = {"“": "”", "«": "»", "„": '“”"', "‘": "’", "「": "」", "‹": "›"}


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a text that is set off from the rest. `kind`: fence, triple, tag, rule, quoted or section."""

    start: int
    end: int
    kind: str


class Layout:
    """The blocks of a text, none of which overlap, in their order."""

    def __init__(self, text: Text):
        self.text = text
        self._raw = text.text

    @cached_property
    def blocks(self) -> list[Block]:
        """What is set off as material."""
        raw = self._raw
        found: list[Block] = []
        if "```" in raw or "~~~" in raw:
            found += _fences(raw)
        if '"""' in raw or "'''" in raw:
            found += _triples(raw)
        if "</" in raw:
            found += _tags(raw, self.text.low)
        if "\n" in raw:
            if any(mark in raw for mark in _MARKS_OF_RULES):
                found += _rules(self.lines)
            if "\n>" in raw or raw.startswith(">"):
                found += [Block(m.start(), m.end(), "quoted") for m in _QUOTED_LINE.finditer(raw)]
            found += self._sections
            if "[1]" in raw:
                found += _numbered(raw, self.lines)
        return _outermost(found)

    @cached_property
    def titles(self) -> list[tuple[int, int, str]]:
        """Headings and labels: where each begins and ends, and what it says in small letters."""
        if ":" not in self._raw and "#" not in self._raw:
            return []
        found = []
        for at, line in self.lines:
            # Most lines are neither, and an expression for each would take longer than all the rest.
            if (":" in line[:LONGEST_LABEL] or line[:1] == "#") and (match := _TITLE.match(line)):
                found.append((at, at + match.end(), (match[1] or match[2]).strip().lower()))
        return found

    @cached_property
    def lines(self) -> list[tuple[int, str]]:
        """The lines that are not empty, with where each begins."""
        found, at = [], 0
        for line in self._raw.split("\n"):
            if line:
                found.append((at, line))
            at += len(line) + 1
        return found

    @cached_property
    def _sections(self) -> list[Block]:
        titles = self.titles
        found = []
        for i, (_, end, name) in enumerate(titles):
            until = titles[i + 1][0] if i + 1 < len(titles) else len(self._raw)
            if _OF_MATERIAL.search(name) and not _OF_THE_REQUEST.search(name):
                found.append(Block(end, until, "section"))
        if found and found[-1].end == len(self._raw):
            # Only the end is looked at, which is where it would be.
            begin = max(found[-1].start, len(self._raw) - 400)
            question = _LAST_QUESTION.search(self._raw, begin)
            if question:
                found[-1] = Block(found[-1].start, question.start(1), "section")
        return found

    @cached_property
    def _starts(self) -> list[int]:
        return [block.start for block in self.blocks]

    def is_material(self, position: int) -> bool:
        """Whether a character belongs to a block."""
        i = bisect_right(self._starts, position) - 1
        return i >= 0 and position < self.blocks[i].end

    def is_quoted(self, start: int, end: int) -> bool:
        """Whether a passage stands in quotation marks within its line: it is spoken of, and not meant."""
        raw = self._raw
        line_start = max(raw.rfind("\n", 0, start) + 1, start - 300)
        line_end = raw.find("\n", end, end + 300)
        before, after = raw[line_start:start], raw[end : line_end if line_end >= 0 else end + 300]
        for mark in ('"', "`"):
            if before.count(mark) % 2 and mark in after:
                return True
        if re.search(r"(?:^|[\s(\[])'[^']*$", before) and re.match(r"[^']*'(?!\w)", after):
            return True
        for mark, closing in _OPENING_QUOTES.items():
            at = before.rfind(mark)
            if at >= 0 and not any(c in before[at + 1 :] for c in closing) and any(c in after for c in closing):
                return True
        return False

    @cached_property
    def outside(self) -> list[tuple[int, int]]:
        """The stretches of text that are in no block."""
        found, at = [], 0
        for block in self.blocks:
            if block.start > at:
                found.append((at, block.start))
            at = max(at, block.end)
        if at < len(self._raw):
            found.append((at, len(self._raw)))
        return found

    @cached_property
    def request(self) -> str:
        """What is in no block, in small letters: the request itself, where material is set off."""
        if not self.blocks:
            return self.text.low
        return "\n".join(self.text.low[start:end] for start, end in self.outside)


def _fences(raw: str) -> list[Block]:
    found, opened = [], None
    for match in _FENCE.finditer(raw):
        if opened is None:
            opened = match
        elif match[1][0] == opened[1][0] and len(match[1]) >= len(opened[1]):
            found.append(Block(opened.start(), match.end(), "fence"))
            opened = None
    if opened is not None:  # never closed: all the rest
        found.append(Block(opened.start(), len(raw), "fence"))
    return found


def _triples(raw: str) -> list[Block]:
    found, opened = [], None
    for match in _TRIPLE.finditer(raw):
        if opened is None:
            opened = match
        elif match[0] == opened[0]:
            found.append(Block(opened.start(), match.end(), "triple"))
            opened = None
    return found


def _tags(raw: str, low: str) -> list[Block]:
    """Outermost pairs of tags, without those whose name says that the request itself stands in them."""
    opened: list[tuple[str, int]] = []
    count: dict[str, int] = defaultdict(int)
    pairs = []
    for match in _TAG.finditer(raw):
        name = match[2].lower()
        if match[3]:
            continue
        if not match[1]:
            opened.append((name, match.start()))
            count[name] += 1
        elif count[name]:
            while True:
                other, start = opened.pop()
                count[other] -= 1
                if other == name:
                    break
            pairs.append((start, match.end(), name))
    return [
        Block(start, end, "tag")
        for start, end, name in pairs
        if not _OF_THE_REQUEST.search(name.replace("_", " ").replace("-", " "))
    ]


def _numbered(raw: str, lines: list[tuple[int, str]]) -> list[Block]:
    """Numbered passages, each up to its empty line."""
    starts = [at for at, line in lines if line[0] == "[" and _NUMBERED.match(line)]
    if len(starts) < 2:
        return []
    found, end = [], 0
    for start in starts:
        if end <= start:
            end = raw.find("\n\n", start)
            end = len(raw) if end < 0 else end
        found.append(Block(start, end, "section"))
    return found


def _rules(lines: list[tuple[int, str]]) -> list[Block]:
    """What stands between lines of hyphens, equals signs and the like: from the first of them to the last."""
    rules = [(at, len(line)) for at, line in lines if line[-1] in _RULED_BY and _RULE.match(line.rstrip())]
    return [Block(rules[0][0], sum(rules[-1]), "rule")] if len(rules) > 1 else []


def _outermost(blocks: list[Block]) -> list[Block]:
    found: list[Block] = []
    for block in sorted(blocks, key=lambda b: (b.start, -b.end)):
        if not found or block.start >= found[-1].end:
            found.append(block)
        elif block.end > found[-1].end:
            found[-1] = Block(found[-1].start, block.end, found[-1].kind)
    return found
