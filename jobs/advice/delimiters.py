"""Material that was pasted into a request and is set off by nothing."""

import re

from jobs.advice.layout import Layout

# Less than this is part of the sentence that it stands in.
LEAST_WORDS, LEAST_LINES = 40, 4
# A longer line is prose; of more greetings no letter is looked for.
LONGEST_LINE, MOST_GREETINGS = 400, 5
_CODE = re.compile(
    r"^(?:[ \t]{2,}\S|\t\S|[\]\[{}()]|#!|\d{4}-\d\d-\d\d[t ]\d\d:|<\w+[ />]|@\w+|traceback |(?:from|to|cc|subject|"
    r"von|an|betreff|de|objet|"
    r"date): ?\S|(?:apiversion|kind|metadata|spec|version|services):|"
    r"(?:def|class|func|fn|import|return|select|insert|update|delete|from|join|where|order by|group by|limit|const|"
    r"let|var|public|"
    r"private|static|void|if|for|while|cd|rm|scp|tar|sudo|export|echo|mv|cp|and|or|begin|end|done|do|fi|typeerror|"
    r"valueerror)\b"
    r"(?=.*[(){};=$/*.<>]|$)|(?:[^,\n]{0,60},){3,}[^,\n]{0,60}$|.{0,160}[;{}]$|\w+error: )"
)
_GREETING = re.compile(
    r"^(?:hello|hi|dear|hallo|sehr geehrte|liebe|bonjour|madame|hola|estimad\w+|gentile)\b[^\n]{0,60}[,!]?$"
)
_CLOSING = re.compile(
    r"\b(?:regards|sincerely|yours|grüße|cordialement|saludos|atentamente|cordiali saluti|best wishes)\b"
)
_POINTS_AT = re.compile(
    r"\b(?:th(?:is|e|ese)|following|below|our|my|two|folgende[nrs]?|diese[nrs]?|den|le|la|cette|ce|el|este|il|questo)"
    r"(?: [\w-]+)? (?:texts?|essay|e-?mail|letter|article|threads?|policy|contract|agreement|documents?|answer|"
    r"minutes|"
    r"transcript|passage|report|story|paragraphs?|speech|notes|message|clauses?|brief|artikel|vertrag|texte|lettre|"
    r"texto|"
    r"carta|testo)\b|\bi paste|\b(?:sent|wrote|gave) (?:me|us) this\b|\b(?:below|here) is an? [\w-]+|\bpasted\b|"
    r"\b(?:such agreements|text suivant|texte suivant|sign this|in this\b)"
)
_ITEM = re.compile(r"^[ \t]*(?:[-*•]|\(?(?:\d{1,2}|[a-e])[.)])[ \t]", re.MULTILINE)
_SENTENCE = re.compile(r"[^.!?:\n]+[.!?:\n]*")
_TASK = re.compile(
    r"^(?:please |now )?(?:tell|find|write|read|review|check|grade|judge|summari[sz]e|translate|compare|analy[sz]e|"
    r"explain|"
    r"list|name|rank|point|rate|which|what|why|who|how|is|are|does|do|would|should|can|here|i will|prüfe|fasse|"
    r"analyse|"
    r"übersetze|résume|traduis|resume|give|extract|classify|rewrite|improve|propose|answer|decide|evaluate|"
    r"present|output|return|sort|consider|arrange|identify|count|use|respond|format)\b"
)


def missing(layout: Layout) -> tuple[int, int] | None:
    """Where the material begins and ends."""
    if len(layout.text.text) < 200:
        return None
    return _code(layout) or _letter(layout) or _prose(layout)


def _code(layout: Layout) -> tuple[int, int] | None:
    """Lines of a program, a log or a table among those of the request."""
    low = layout.text.low
    lines_outside = 0
    best: tuple[int, int, int] | None = None
    for start, end in layout.outside:
        run, first, last, before, is_titled = 0, 0, 0, "", False
        at = start
        for line in low[start:end].split("\n"):
            if not line.strip():
                is_titled = is_titled and _is_title(before)
            else:
                lines_outside += 1
                is_titled = is_titled or (run == 0 and _is_title(before))
                if not is_titled and len(line) <= LONGEST_LINE and _CODE.match(line):
                    first = at if run == 0 else first
                    run, last = run + 1, at + len(line)
                    if best is None or run > best[2]:
                        best = first, last, run
                elif run < 2 or not _CODE.match(before):
                    run = 0
                before = line
            at += len(line) + 1
    if best is None or best[2] < LEAST_LINES or lines_outside <= best[2]:
        return None
    return best[0], best[1]


def _is_title(line: str) -> bool:
    """Whether a line says what follows, and nothing else: a heading, or a word or three with a colon."""
    line = line.strip()
    return line.startswith(("# ", "##")) or (line.endswith(":") and len(line.split()) <= 3)


def _letter(layout: Layout) -> tuple[int, int] | None:
    """A letter, from its greeting to its regards, behind a request."""
    low = layout.text.low
    begin = len(low) - len(low.lstrip())
    greetings = 0
    for start, end in layout.outside:
        at = start
        for line in low[start:end].split("\n"):
            if at > begin and len(line) < 80 and _GREETING.match(line.strip()) and greetings < MOST_GREETINGS:
                greetings += 1
                closing = _CLOSING.search(low, at, min(end, at + 8000))
                before = low[max(at - 100, 0) : at].rstrip().rsplit("\n", 1)[-1]
                if closing and len(low[at : closing.end()].split()) >= LEAST_WORDS and not _is_title(before):
                    return at, closing.end()
            at += len(line) + 1
    return None


def _prose(layout: Layout) -> tuple[int, int] | None:
    """A text that the request points at, in the same paragraph or the next."""
    stretches = [(start, end) for start, end in layout.outside if end - start >= 200]
    if layout.blocks or len(stretches) != 1 or layout.titles:
        return None
    low = layout.text.low
    start, end = stretches[0]
    pointed = _POINTS_AT.search(low[start : start + 400]) or _POINTS_AT.search(low[max(end - 400, start) : end])
    if not pointed:
        return None
    parts = _sentences(low, start, end)
    asks = [bool(_TASK.match(low[a:b].lstrip())) or "?" in low[max(a, b - 3) : b] for a, b in parts]
    # The longest run of sentences that ask for nothing.
    best, run_start = (0, 0), None
    for (a, _), is_task in zip([*parts, (end, end)], [*asks, True], strict=True):
        if not is_task:
            run_start = a if run_start is None else run_start
        elif run_start is not None:
            best = max(best, (run_start, a), key=lambda run: run[1] - run[0])
            run_start = None
    run = low[best[0] : best[1]]
    # A list is set off by its own marks.
    if len(run.split()) < LEAST_WORDS or not any(asks) or len(_ITEM.findall(run)) > 1:
        return None
    return best


def _sentences(low: str, start: int, end: int) -> list[tuple[int, int]]:
    return [(match.start(), match.end()) for match in _SENTENCE.finditer(low, start, end)]
