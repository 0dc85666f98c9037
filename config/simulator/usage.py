"""Tokens and dollars of one call, counted the simulator's own way: nothing here is shared with the product."""

import asyncio
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from config.simulator.models import Model

with warnings.catch_warnings():
    # bpe-openai 0.1.4 opens its ranks, while it is imported, with a function that Python 3.11 calls deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    import bpe_openai

# Measured on the two prompts of the founding tutorial: 36 and 48 tokens of text are billed as 43 and 55.
REPLY_OVERHEAD = 3
MESSAGE_OVERHEAD = 4
IMAGE_TOKENS = 85  # the price of an image at low detail
# Longer texts are counted in a thread, so that one of them does not hold up thousands of waiting calls.
INLINE_CHARACTERS = 20_000
PIECE_CHARACTERS = 500_000  # bpe-openai refuses a million
WORD_END = re.compile(r"[^\W\d_](?= )")

# What the bill calls the tier of a batch's calls; no request can ask for it.
BATCH = "batch"
CACHE_FROM = 1024
# What is written costs more than input, and the last tokens of a prompt are not written.
CACHE_WRITE, UNWRITTEN = Decimal("1.25"), 3
CACHE_STEP = 128
LONG_PROMPT_TOKENS = 272_000
MILLION = Decimal(1_000_000)

_loading = threading.Lock()
_loaded = threading.Event()


@cache
def _load() -> bpe_openai.Encoding:
    return bpe_openai.get_encoding("o200k_base")


def encoding() -> bpe_openai.Encoding:
    """o200k_base; the first call takes a fifth of a second and happens once, whichever thread comes first."""
    with _loading:
        loaded = _load()
        _loaded.set()
        return loaded


def encode(text: str) -> list[int]:
    """Tokens of a text; what looks like a special token is text."""
    return [token for piece in _pieces(text) for token in encoding().encode_ordinary(piece)]


def _pieces(text: str) -> Iterator[str]:
    """The text in parts that bpe-openai takes; no token of o200k_base reaches over the end of a word into a space."""
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        word_end = WORD_END.search(text, start + PIECE_CHARACTERS // 2, start + PIECE_CHARACTERS)
        end = word_end.end() if word_end else start + PIECE_CHARACTERS
        yield text[start:end]
        start = end
    yield text[start:]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. Cached and written ones are part of the prompt, reasoning ones part of the completion."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cache_write_tokens: int = 0

    @property
    def written(self) -> dict[str, int]:
        """What the details of the prompt say of writing to the cache, where there is something to say."""
        return {"cache_write_tokens": self.cache_write_tokens} if self.cache_write_tokens else {}

    def body(self) -> dict[str, Any]:
        """The usage object in the shape and key order of 2025."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens, "audio_tokens": 0, **self.written},
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


async def count_prompt_tokens(texts: Sequence[str], *, messages: int, images: int) -> int:
    """What the provider bills as prompt: the tokens of all texts, a few for each message, and the images."""
    if _loaded.is_set() and sum(map(len, texts)) < INLINE_CHARACTERS:
        tokens = _count(texts)
    else:
        tokens = await asyncio.to_thread(_count, texts)
    return tokens + REPLY_OVERHEAD + MESSAGE_OVERHEAD * messages + IMAGE_TOKENS * images


def _count(texts: Sequence[str]) -> int:
    return sum(len(encode(text)) for text in texts)


def cached_tokens(prompt_tokens: int, draw: int) -> int:
    """None below 1,024 prompt tokens; from there 0, or 1,024 and some steps of 128, as `draw` decides."""
    if prompt_tokens < CACHE_FROM or draw % 2 == 0:
        return 0
    steps = (prompt_tokens - CACHE_FROM) // CACHE_STEP
    return CACHE_FROM + CACHE_STEP * (draw // 2 % (steps + 1))


def written_tokens(model: Model, prompt_tokens: int, cached: int) -> int:
    """What is written to the cache: nearly all of a prompt of 1,024 tokens that was not read from it.

    Of 18,014 tokens 18,011 were, as somebody measured in August 2026 (github.com/laravel/ai, pull request 846).
    """
    if not model.writes_cache or prompt_tokens < CACHE_FROM:
        return 0
    return max(prompt_tokens - UNWRITTEN - cached, 0)


def cost_parts(model: Model, service_tier: str, usage: Usage) -> tuple[Decimal, Decimal, Decimal]:
    """The exact price of a call in dollars: uncached input, cached input, output; reasoning is output, once."""
    price = model.batch_price if service_tier == BATCH else model.prices[service_tier]
    assert price is not None, "a batch is of models that have a price of batches"
    is_long = model.long_prompt and usage.prompt_tokens > LONG_PROMPT_TOKENS
    on_input, on_output = (2, Decimal("1.5")) if is_long else (1, Decimal(1))
    written = usage.cache_write_tokens
    read = usage.prompt_tokens - usage.cached_tokens - written
    return (
        (read + written * CACHE_WRITE) * price.input * on_input / MILLION,
        usage.cached_tokens * price.cached_input * on_input / MILLION,
        usage.completion_tokens * price.output * on_output / MILLION,
    )


def cost_usd(model: Model, service_tier: str, usage: Usage) -> Decimal:
    """The exact price of a call in dollars."""
    return sum(cost_parts(model, service_tier, usage), Decimal(0))


def decimal_text(amount: Decimal) -> str:
    """Dollars as plain digits, no exponent, no zeros at the end: 0.077385."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
