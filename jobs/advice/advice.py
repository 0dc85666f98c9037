"""A piece of advice, and what the rules are told of the call that it is about. Pure values."""

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from accounts.models import AdviceRule
from billing.money import usd
from billing.pricing import PriceTerms
from jobs.learning.expectation import Expectation

LONGEST_QUOTE = 120


@dataclass(frozen=True, slots=True)
class Passage:
    """Where in the prompt: characters `start` to `end` of the text of one message, with its beginning.

    The text of a message whose content comes in parts is its text parts, one behind the other.
    """

    message: int
    start: int
    end: int
    quote: str

    def as_sent(self) -> dict[str, Any]:
        return {"message": self.message, "start": self.start, "end": self.end, "quote": self.quote}


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, why, and where that is known from.

    `saving_usd`: the money that is at stake in one call, by earlier calls like it; None where there are none, or where
    none can be named. `passage` is None where the advice is about a parameter and not about a text.
    """

    rule: AdviceRule
    passage: Passage | None
    do: str
    why: str
    source: str
    saving_usd: Decimal | None = None

    def as_sent(self) -> dict[str, Any]:
        return {
            "rule": self.rule.value,
            "passage": self.passage.as_sent() if self.passage else None,
            "do": self.do,
            "why": self.why,
            "source": self.source,
            "saving_usd": None if self.saving_usd is None else usd(self.saving_usd),
        }


@dataclass(frozen=True, slots=True)
class Smaller:
    """A model that costs a fraction of the one that was asked for, and what of it: above 0, below 1."""

    name: str
    price_ratio: Decimal


@dataclass(frozen=True, slots=True)
class Situation:
    """What the rules know of a call besides its prompt.

    `family`: the model's name without a date. `cap`: reasoning and answer together; None: the model's own maximum.
    `effort`: as asked. `smaller`: None where no model would do the work for a fraction.
    """

    model: str
    family: str
    is_reasoning: bool
    cap: int | None = None
    effort: str | None = None
    smaller: Smaller | None = None
    price: PriceTerms | None = None
    history: Expectation | None = None


class Text:
    """The text of one message, and the same in small letters with every character in its place."""

    def __init__(self, message: int, role: str, text: str):
        self.message, self.role, self.text = message, role, text

    @cached_property
    def low(self) -> str:
        # Of all characters this one alone becomes two.
        return self.text.replace("\u0130", "I").lower()

    def passage(self, start: int, end: int) -> Passage:
        """The characters from `start` to `end`."""
        quote = " ".join(self.text[start : min(end, start + LONGEST_QUOTE)].split())
        return Passage(self.message, start, end, f"{quote} ..." if end - start > LONGEST_QUOTE else quote)


def texts_of(messages: list[dict[str, Any]]) -> list[Text]:
    """The texts of all messages in their order; one without text has an empty one."""
    return [Text(i, str(message.get("role", "")), _text(message.get("content"))) for i, message in enumerate(messages)]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(part for part in parts if isinstance(part, str))
