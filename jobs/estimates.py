"""Bounds of a call's tokens and cost, computed before it.

A bound is a promise: the provider's own count may not exceed it.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import import_module
from math import ceil
from typing import Any

from billing.pricing import PriceTerms, bound_usd
from jobs.validation import PromptRequest

# Chat overhead of o200k_base models: 3 tokens prime the reply, 4 frame each message (recorded usage of one-message
# calls, 2024-09 to 2025-08: text + 7).
REPLY_PRIMING = 3
MESSAGE_FRAME = 4
# A recorded o1-mini call of two messages counted 7 tokens more than that formula: the margin leaves twice as much per
# message.
MARGIN_PER_MESSAGE = 14
MARGIN_PER_CALL = 32
# The Responses API counted 37 and 71 tokens over the text of two one-message prompts in public (OpenAI's documentation
# and API reference, 2026), where chat counts 7: twice the larger is left.
MARGIN_OF_RESPONSES = 142
MARGIN_OF_TEXT = Decimal("1.02")
# High detail of the largest picture; no published formula exceeds it. A dearer one would be flagged as an overrun.
IMAGE_TOKENS = 50_000
# The provider's limiter estimates a prompt from its characters (rate limit guide); four to a token is its usual figure.
CHARACTERS_PER_TOKEN = 4
# The tokenizer refuses more than 200,000 tokens at once, and no character is more than four. A token that a cut falls
# into counts as two or three, which the margin does not notice.
PIECE_CHARACTERS = 50_000
_PLAIN_MEMBERS = frozenset({"role", "content"})


@dataclass(frozen=True, slots=True)
class PromptSize:
    """`counted_tokens` by the provider's formula; `bound_tokens` never below what it may bill.

    `characters` of all text.
    """

    counted_tokens: int
    bound_tokens: int
    characters: int


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that one call can take: tokens, US dollars, and what the provider's token rate limit counts for it."""

    input_tokens: int
    output_tokens: int
    usd: Decimal
    admission_tokens: int


@cache
def vocabulary() -> Any:
    """The encoding o200k_base."""
    # Importing it takes a second of CPU, which commands and workers that count nothing need not spend.
    return import_module("bpe_openai").get_encoding("o200k_base")


def count_tokens(text: str) -> int:
    """Tokens of a text in o200k_base, the vocabulary of every o-series and later model; needs no network.

    The first count of a process loads the vocabulary, which takes about a second.
    """
    # A lone surrogate has no UTF-8 form; the provider would replace it as well.
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= PIECE_CHARACTERS:
        return len(vocabulary().encode_ordinary(text))
    pieces = (text[i : i + PIECE_CHARACTERS] for i in range(0, len(text), PIECE_CHARACTERS))
    return sum(len(vocabulary().encode_ordinary(piece)) for piece in pieces)


def prompt_size(request: PromptRequest, *, has_responses: bool = False) -> PromptSize:
    """How large the prompt of a request is: its messages, and the schemas that go with them.

    `has_responses`: its model may be called by the Responses API, which frames a prompt in more tokens than chat does.
    """
    texts = [text for message in request.messages for text in _texts_of(message)]
    schemas = [
        json.dumps(request.parameters[name], ensure_ascii=False)
        for name in ("tools", "functions", "response_format")
        if request.parameters.get(name)
    ]
    images = sum(_images(message) for message in request.messages)
    messages = len(request.messages)
    text_tokens = sum(map(count_tokens, texts + schemas))
    counted = text_tokens + REPLY_PRIMING + MESSAGE_FRAME * messages
    bound = (
        ceil(text_tokens * MARGIN_OF_TEXT)
        + REPLY_PRIMING
        + (MESSAGE_FRAME + MARGIN_PER_MESSAGE) * messages
        + (MARGIN_OF_RESPONSES if has_responses else MARGIN_PER_CALL)
        + IMAGE_TOKENS * images
    )
    return PromptSize(counted, bound, sum(map(len, texts + schemas)))


def most_output(request: PromptRequest, *, max_output_tokens: int) -> int:
    """The output tokens that a call cannot exceed: its cap, or what the model can make, for each answer."""
    return (request.cap or max_output_tokens) * (request.parameters.get("n") or 1)


def bound_of(request: PromptRequest, size: PromptSize, *, max_output_tokens: int, price: PriceTerms) -> Bound:
    """The bound of a call. Without a cap of its own, the answer may be as long as the model can make it."""
    output_tokens = most_output(request, max_output_tokens=max_output_tokens)
    return Bound(
        input_tokens=size.bound_tokens,
        output_tokens=output_tokens,
        usd=bound_usd(input_tokens=size.bound_tokens, output_tokens=output_tokens, price=price),
        # "max of the cap and an estimate from the characters" (rate limit guide); ours never counts less than that.
        admission_tokens=max(request.cap or 0, ceil(size.characters / CHARACTERS_PER_TOKEN), size.counted_tokens),
    )


def _texts_of(message: dict[str, Any]) -> Iterable[str]:
    """Every text of a message but its role; most have one, which is found at once."""
    content = message.get("content")
    if type(content) is str and message.keys() <= _PLAIN_MEMBERS:
        return (content,)
    return _texts({**message, "role": ""})


def _texts(value: Any) -> Iterator[str]:
    """Every text of a message, at any depth: what the model does not read only makes the bound larger.

    Pictures count apart.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, member in value.items():
            if key not in {"image_url", "type"}:
                yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _images(message: dict[str, Any]) -> int:
    content = message.get("content")
    return sum(part.get("type") == "image_url" for part in content) if isinstance(content, list) else 0
