"""Material of which the question needs a small part."""

import re
from itertools import pairwise

from jobs.advice.advice import Text
from jobs.advice.layout import Layout

# So much is read for the price of a few words of answer.
LEAST_CHARACTERS = 5_000
# A question that is longer says more than what to look up.
LONGEST_QUESTION = 600
# Parts that a question shares its words with; where they are more of the whole than this, it needs the whole.
LARGEST_SHARE = 0.4
LEAST_PARTS, MOST_PARTS, MOST_WORDS = 4, 400, 12
_STEM = 5
_PART = re.compile(r"\n[ \t]*\n|\n(?=(?:#{1,6} |-{3,}|={3,}|\[\d+\]|<))|</\w[\w.-]{0,40}>|\", ?\"")
_WHOLE = re.compile(
    r"\b(?:summar\w+|translat\w+|rewrit\w+|compar\w+|check|contradict\w*|every|each|all of|all the|"
    r"all (?:\w+ )?documents|all (?:eight|ten|\d+)|glossary|"
    r"overview|themes?|topics?|review|proofread|classif\w+|index|list all|which of (?:these|the)|differ\w*|"
    r"consisten\w+|fasse|"
    r"zusammenfass\w*|übersetze?|vergleiche?|prüfe|alle|jede[sn]?|résume\w*|tradui\w*|compare[rz]?|resume|traduce)\b"
)
_WORD = re.compile(r"[^\W_]{4,}")
# Words of questions that tell no passage from another.
_WORDS_OF_QUESTIONS = """
    answer answers question questions document documents context passages passage handbook text from with what which
    when where does have must need much many long will that this these those they them there here about into than
    then your ours their been were only just use using used below above alone please give name tell paid pays says
    said whole wiki chunk chunks search returned sources source task employees employee assistant company comes come
    become becomes frage kontext dauert eine einen einer muss haben diesem viele tage know under over after before
    until
"""
_COMMON = frozenset(_WORDS_OF_QUESTIONS.split())


def excess(layout: Layout, question: str) -> tuple[int, int, int] | None:
    """Where material begins and ends of which a question needs little, and how many characters of it are not needed."""
    raw = layout.text.text
    if len(raw) < LEAST_CHARACTERS or len(question) > LONGEST_QUESTION or _WHOLE.search(question):
        return None
    words = {w[:_STEM] for w in _WORD.findall(question) if w not in _COMMON}
    if not words or len(words) > MOST_WORDS:
        return None
    parts = _parts(layout)
    if len(parts) < LEAST_PARTS:
        return None
    low = layout.text.low
    pieces = [low[start:end] for start, end in parts]
    held = {word: [word in piece for piece in pieces] for word in words}
    # A word that stands in most parts tells none from another; one that stands in a single part tells most.
    telling = [row for row in held.values() if 0 < sum(row) <= len(parts) / 2]
    if not telling:
        return None
    scores = [sum(len(parts) // sum(row) for row in telling if row[i]) for i in range(len(parts))]
    best = max(scores)
    needed = sum(len(piece) for piece, score in zip(pieces, scores, strict=True) if 2 * score >= best)
    total = sum(map(len, pieces))
    if total < LEAST_CHARACTERS or needed > LARGEST_SHARE * total:
        return None
    return parts[0][0], parts[-1][1], total - needed


def question_of(texts: list[Text], layouts: dict[int, Layout]) -> str:
    """What is asked last, in small letters: the last message of the user, without its material."""
    last = next((text for text in reversed(texts) if text.role == "user"), None)
    if last is None:
        return ""
    return layouts[last.message].request.strip()


def _parts(layout: Layout) -> list[tuple[int, int]]:
    """The paragraphs of what is material; short ones count as the beginning of the next."""
    found: list[tuple[int, int]] = []
    for block in layout.blocks:
        cuts = [block.start]
        for match in _PART.finditer(layout.text.text, block.start, block.end):
            if match.end() - cuts[-1] >= 200:
                cuts.append(match.end())
            if len(found) + len(cuts) > MOST_PARTS:
                break
        found += [(a, b) for a, b in pairwise([*cuts, block.end]) if b - a >= 100]
    return found[:MOST_PARTS]
