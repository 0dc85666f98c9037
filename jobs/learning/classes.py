"""Which prompts are alike: the kind of work that is asked for, and how large the prompt is. Pure and quick.

A class is a guess from a few words that stand in many prompts. It holds nothing of the content: who knows the class
knows one of forty words.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

CODE, MATHEMATICS, EXTRACTION, SUMMARY = "code", "mathematics", "extraction", "summary"
TRANSLATION, WRITING, QUESTION, OTHER = "translation", "writing", "question", "other"
# Where several kinds have as many words, the one that stands first.
KINDS = (CODE, MATHEMATICS, EXTRACTION, SUMMARY, TRANSLATION, WRITING, QUESTION, OTHER)
# The most tokens of a prompt of each size, by its bound; beyond the last it is `xl`.
SIZES = (("s", 512), ("m", 2048), ("l", 16_384))
LARGEST = "xl"

_WORDS = {
    CODE: "python javascript typescript java rust golang sql bash html css regex api code script function functions "
    "class method bug bugs debug refactor compile compiler program implement unit diff patch traceback exception "
    "async def import const return null repository commit migration algorithm dockerfile kubernetes",
    MATHEMATICS: "prove proof theorem lemma integral derivative equation equations solve calculate compute probability "
    "polynomial algebra geometry triangle prime integer integers matrix modulo expected frac sqrt sum",
    EXTRACTION: "extract classify categorize categorise label labels entities fields json csv schema sort tag parse "
    "sentiment identify list category",
    SUMMARY: "summarize summarise summary condense shorten tldr abstract gist recap minutes",
    TRANSLATION: "translate translation translated translator localize localise",
    WRITING: "write draft essay story poem email letter blog article slogan rewrite rephrase tone paragraph headline "
    "polish answer reply",
    QUESTION: "what why how who when where which does explain compare difference is are should",
}
_KIND_OF = {word: kind for kind, words in reversed(_WORDS.items()) for word in words.split()}
_WORD = re.compile(r"[a-z]+")
# What is asked stands at the beginning or at the end; between them stands what it is asked about.
HEAD, TAIL = 600, 300
# The first words of either part say more than the others.
_FIRST, _FIRST_WEIGHT = 12, 3
_FENCE_WEIGHT = 8


def class_of(messages: Sequence[Mapping[str, Any]], prompt_tokens: int) -> str:
    """The class of a prompt, as `code-m`; its kind is guessed from the last thing that a user said."""
    return f"{kind_of(_last_said(messages))}-{size_of(prompt_tokens)}"


def size_of(prompt_tokens: int) -> str:
    return next((size for size, most in SIZES if prompt_tokens <= most), LARGEST)


def kind_of(text: str) -> str:
    """The kind of work that most of the words speak of; `other` where none does."""
    scores = dict.fromkeys(KINDS, 0)
    parts = (text,) if len(text) <= HEAD + TAIL else (text[:HEAD], text[-TAIL:])
    for part in parts:
        for place, word in enumerate(_WORD.findall(part.lower())):
            kind = _KIND_OF.get(word)
            if kind is not None:
                scores[kind] += _FIRST_WEIGHT if place < _FIRST else 1
        scores[CODE] += _FENCE_WEIGHT * ("```" in part)
        scores[QUESTION] += "?" in part
    best = max(KINDS, key=scores.__getitem__)
    return best if scores[best] else OTHER


def _last_said(messages: Sequence[Mapping[str, Any]]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return _text_of(message.get("content"))
    return _text_of(messages[-1].get("content")) if messages else ""


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))
