"""The money that a piece of advice is about, in one call: by what calls like it came to. Pure; guesses, no promises."""

from decimal import Decimal

from billing.pricing import MILLION
from jobs.advice.advice import Situation

# One prompt with and without the request for the answer alone: 1,511 and 487 completion tokens, of which 1,255 and 167
# were visible (OpenAI o1 API tutorial, 2024-09). Reasoning grew by 64, so 1,024 of 1,255 visible ones were saved.
SAVED_OF_VISIBLE = Decimal(1024) / Decimal(1255)
# Four characters to a token is the provider's usual figure.
CHARACTERS_PER_TOKEN = 4
_PLACES = Decimal("0.000001")


def of_reasoning(situation: Situation) -> Decimal | None:
    """All that reasoning costs in such a call: the most that can be saved of it."""
    history, price = situation.history, situation.price
    if history is None or price is None:
        return None
    return _rounded(history.mean_reasoning_tokens * price.output / MILLION)


def of_visible(situation: Situation, share: Decimal = Decimal(1)) -> Decimal | None:
    """A share of what the visible answer costs in such a call."""
    history, price = situation.history, situation.price
    if history is None or price is None:
        return None
    return _rounded(share * history.mean_visible_tokens * price.output / MILLION)


def of_characters(situation: Situation, characters: int) -> Decimal | None:
    """What so much of the prompt costs to read, each time."""
    if situation.history is None or situation.price is None:
        return None
    return _rounded(Decimal(characters) / CHARACTERS_PER_TOKEN * situation.price.input / MILLION)


def of_empty_answers(situation: Situation, cap: int) -> Decimal | None:
    """What such a call pays on average for an answer that shows nothing, because its cap is used up by reasoning."""
    history, price = situation.history, situation.price
    if history is None or price is None:
        return None
    return _rounded(history.empty_probability(cap) * cap * price.output / MILLION)


def of_smaller(situation: Situation) -> Decimal | None:
    """How much less such a call costs where the same tokens have the smaller model's price."""
    if situation.history is None or situation.smaller is None:
        return None
    return _rounded(situation.history.mean_cost_usd * (1 - situation.smaller.price_ratio))


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(_PLACES)
