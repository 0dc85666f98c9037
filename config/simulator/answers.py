"""What a model answers: the same text and the same token counts for the same seed, model and messages."""

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from config.simulator import usage

# Reasoning comes in blocks of this many tokens unless the cap cuts it (every public sample but the capped ones).
REASONING_BLOCK = 64
# Blocks relative to a drawn base; models go up in effort as listed in models.json, medium is their default.
BLOCKS_PER_EFFORT = {"none": 0, "minimal": 0, "low": 1, "medium": 2, "high": 4, "xhigh": 6, "max": 8}

# Every word is one token of o200k_base, so that a text cut after any token is that many tokens long when counted again.
SENTENCES = (
    "The first step is to read the input and to check that it has the form we expect.",
    "A simple approach is often good enough, and it is easy to test.",
    "We can split the problem into small parts and solve each of them on its own.",
    "It helps to write down what must be true before and after each step.",
    "If the data is large, the cost of every pass over it begins to matter.",
    "The result should be the same no matter in which order the parts are done.",
    "There are two cases to consider, and the second one is easy to miss.",
    "An empty input is a valid input and needs an answer as well.",
    "A table of known values makes it clear where the method fails.",
    "Once the main path works, look at the limits and at what happens beyond them.",
    "The time needed grows with the size of the input and not faster.",
    "Keep the names short and use one word for one thing.",
    "When two values are equal, the first one found is kept.",
    "This choice costs some memory but makes every later search fast.",
    "The last part puts the pieces together and returns the final value.",
    "A short example shows the idea better than a long text.",
    "Errors should say what was wrong and where it was found.",
    "In the end the total must match the sum of all its parts.",
    "You can change the order of these steps if your data is already sorted.",
    "It is worth a test with real data before you rely on it.",
)


@dataclass(frozen=True, slots=True)
class Question:
    """What an answer depends on. `effort` None is the model's default; `form` is the response_format asked for."""

    seed: int
    model: str
    messages: str  # canonical JSON
    reasoning: bool
    effort: str | None = None
    form: Mapping[str, Any] | None = None
    index: int = 0  # of the choice, when several are asked for

    def draw(self) -> int:
        """A number that stands for seed, model and messages, and for nothing else of the request."""
        parts = (str(self.seed), self.model, self.messages, str(self.index))
        return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class Answer:
    """A text and its tokens: reasoning tokens are not seen, visible ones are those of the text."""

    text: str
    reasoning_tokens: int
    visible_tokens: int
    finish_reason: Literal["stop", "length"] = "stop"

    @property
    def completion_tokens(self) -> int:
        return self.reasoning_tokens + self.visible_tokens

    def capped(self, cap: int | None) -> "Answer":
        """The answer under a cap on completion tokens: reasoning comes first, and may leave nothing for the text."""
        if cap is None or self.completion_tokens <= cap:
            return self
        if self.reasoning_tokens >= cap:
            return Answer("", cap, 0, "length")
        room = cap - self.reasoning_tokens
        encoding = usage.encoding()
        text = encoding.decode(encoding.encode_ordinary(self.text)[:room])
        return Answer(text, self.reasoning_tokens, room, "length")


def answer(question: Question) -> Answer:
    """The whole answer, before any cap."""
    golden = _golden().get((question.model, question.messages)) if question.form is None else None
    if golden is not None:
        return golden
    chance = random.Random(question.draw())  # noqa: S311 (nothing secret)
    # An answer of the tutorial's size on average; drawn before the effort is looked at, so that effort only scales it.
    base_blocks, length = chance.randint(1, 8), chance.randint(40, 400)
    blocks = base_blocks * BLOCKS_PER_EFFORT[question.effort or "medium"] if question.reasoning else 0
    sentences = _prose(chance, length)
    text = _in_form(" ".join(sentences), question.form)
    # No token reaches over the end of a sentence, so prose need not be counted again for every call.
    is_prose = question.form is None or question.form.get("type") == "text"
    visible = sum(map(_tokens_of, sentences)) if is_prose else len(usage.encode(text))
    return Answer(text, blocks * REASONING_BLOCK, visible)


def canonical(messages: Any) -> str:
    """Messages as one string that is the same for the same messages."""
    return json.dumps(messages, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _prose(chance: random.Random, words: int) -> list[str]:
    """Whole sentences of about that many words together."""
    sentences: list[str] = []
    left = words
    while left > 0:
        sentence = chance.choice(SENTENCES)
        sentences.append(sentence)
        left -= sentence.count(" ") + 1
    return sentences


@cache
def _tokens_of(sentence: str) -> int:
    return len(usage.encode(sentence))


def _in_form(prose: str, form: Mapping[str, Any] | None) -> str:
    """The prose as the response format wants it: as it is, as a JSON object, or as an instance of a schema."""
    match (form or {}).get("type"):
        case "json_object":
            return json.dumps({"answer": prose})
        case "json_schema":
            wrapper = (form or {}).get("json_schema") or {}
            return json.dumps(_instance(wrapper.get("schema") or {"type": "string"}, prose))
        case _:
            return prose


def _instance(schema: Mapping[str, Any], prose: str) -> Any:
    """A small value of the schema; references and alternatives are not followed."""
    if schema.get("enum"):
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _instance(part, prose) for name, part in (schema.get("properties") or {}).items()}
        case "array":
            return [_instance(schema.get("items") or {}, prose)]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return prose


# --- The founding tutorial's calls ------------------------------------------------------------------------------------
MATRIX_PROMPT = (
    "Write a Python script that takes a matrix represented as a string with format '[1,2],[3,4],[5,6]' "
    "and prints the transpose in the same format."
)
CONCISE = " Limit yourself to the answer and don't add explanations or introductions."

_SCRIPT = '''```python
import json


def transpose(matrix: str) -> str:
    """Return the transpose of a matrix such as "[1,2],[3,4]" in the same notation."""
    rows = json.loads(f"[{matrix}]")
    if len({len(row) for row in rows}) > 1:
        raise ValueError("every row needs the same number of columns")
    return ",".join(json.dumps(column, separators=(",", ":")) for column in zip(*rows))


print(transpose("[1,2],[3,4],[5,6]"))
```'''

_O1_PREVIEW_ANSWER = f"""Your notation is JSON but for the outer brackets: add them and a parser does the rest.

{_SCRIPT}

It prints `[1,3,5],[2,4,6]`.

- `json.loads` gives a list of rows and rejects anything that is not a number or a string.
- `zip(*rows)` walks the rows side by side, which yields the columns.
- `separators` keeps spaces out, so that the output has the form of the input.
"""

_O1_MINI_ANSWER = f"""Here is a script without dependencies.

{_SCRIPT}

**How it works**

1. The outer brackets are added, which makes the string a JSON array of arrays.
2. Rows of different lengths are refused, because `zip` would drop values silently.
3. `zip(*rows)` turns rows into columns, and each column is written back without spaces.

For `[1,2],[3,4],[5,6]` the output is `[1,3,5],[2,4,6]`.
"""


@cache
def _golden() -> Mapping[tuple[str, str], Answer]:
    """Answers to the tutorial's prompts with the usage that it printed in September 2024.

    The token counts are pinned: they are the published figures, and the texts, which are our own, are shorter than
    those that were billed. Everywhere else the visible tokens are the count of the text that is returned.
    """
    matrix = canonical([{"role": "user", "content": MATRIX_PROMPT}])
    concise = canonical([{"role": "user", "content": MATRIX_PROMPT + CONCISE}])
    return {
        ("o1-preview", matrix): Answer(_O1_PREVIEW_ANSWER, 1024, 1279 - 1024),
        ("o1-mini", matrix): Answer(_O1_MINI_ANSWER, 256, 1511 - 256),
        ("o1-mini", concise): Answer(_SCRIPT, 320, 487 - 320),
    }
