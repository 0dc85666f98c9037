"""The rules: each looks at a prompt and the situation of its call, and gives a piece of advice or none. Pure.

What is said of reasoning models holds for them alone: a model that does not reason may well gain from being told to.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any

from accounts.models import AdviceRule
from jobs.advice import context, delimiters, examples, phrases, savings, work
from jobs.advice.advice import Advice, Passage, Situation, Text, texts_of
from jobs.advice.layout import Layout

# What the provider advises to leave for reasoning and answer together, to begin with (reasoning guide, 2024-09).
ADVISED_CAP = 25_000
# The share of calls that may need more than the recommended cap.
EMPTY_RISK = Decimal("0.01")
# Its answers are long by themselves (OpenAI o1 API tutorial, 2024-09).
VERBOSE_FAMILY = "o1-mini"

BEST_PRACTICES = (
    "OpenAI, Reasoning best practices: https://developers.openai.com/api/docs/guides/reasoning-best-practices"
)
REASONING_GUIDE = "OpenAI, Reasoning models: https://developers.openai.com/api/docs/guides/reasoning"
TUTORIAL = "OpenAI o1 API tutorial (DataCamp, September 2024)"


class Prompt:
    """The messages of a prompt, laid out once for all rules."""

    def __init__(self, messages: list[dict[str, Any]]):
        self.texts = texts_of(messages)
        self.told = [text for text in self.texts if text.role != "assistant" and text.text]
        self.layouts = {text.message: Layout(text) for text in self.told}

    @cached_property
    def length(self) -> int:
        """Characters of all messages."""
        return sum(len(text.text) for text in self.texts)

    @cached_property
    def last(self) -> Text | None:
        """The last message of the user."""
        return next((text for text in reversed(self.told) if text.role == "user"), None)

    @cached_property
    def request(self) -> str:
        """What it asks for, in small letters and without its material."""
        return context.question_of(self.told, self.layouts)

    def first(self, find: Callable[[Layout], tuple[int, int] | None]) -> Passage | None:
        """The first passage of a message that is found."""
        for text in self.told:
            found = find(self.layouts[text.message])
            if found is not None:
                return text.passage(*found)
        return None


def advise(messages: list[dict[str, Any]], situation: Situation) -> tuple[Advice, ...]:
    """All advice on a prompt that was validated, in the order of the rules."""
    prompt = Prompt(messages)
    return tuple(advice for rule in RULES if (advice := rule(prompt, situation)) is not None)


def passages(advice: Sequence[Advice]) -> Iterator[Passage]:
    """Where they are about a text."""
    yield from (one.passage for one in advice if one.passage is not None)


def _chain_of_thought(prompt: Prompt, situation: Situation) -> Advice | None:
    passage = prompt.first(phrases.chain_of_thought) if situation.is_reasoning else None
    if passage is None:
        return None
    return Advice(
        AdviceRule.CHAIN_OF_THOUGHT,
        passage,
        "Leave this out, and say what a good answer has to fulfil instead.",
        "The model reasons by itself before it answers. Being told to makes it no better, at times worse, and may "
        "make "
        "it reason longer, which is billed as output.",
        BEST_PRACTICES,
        savings.of_reasoning(situation),
    )


def _asks_for_reasoning(prompt: Prompt, situation: Situation) -> Advice | None:
    passage = prompt.first(phrases.asked_reasoning) if situation.is_reasoning else None
    if passage is None:
        return None
    return Advice(
        AdviceRule.ASKS_FOR_REASONING,
        passage,
        "Ask for the result, and where grounds are needed for a short justification of it.",
        "The model's reasoning is not shown. What it writes instead is made up afterwards and billed a second time, "
        "and "
        "requests for the hidden reasoning itself may be refused (invalid_prompt).",
        REASONING_GUIDE,
        savings.of_visible(situation),
    )


def _few_shot_examples(prompt: Prompt, situation: Situation) -> Advice | None:
    if not situation.is_reasoning:
        return None
    passage = prompt.first(examples.shown)
    if passage is None:
        first = examples.turns(prompt.texts)
        passage = first.passage(0, len(first.text)) if first else None
    if passage is None:
        return None
    return Advice(
        AdviceRule.FEW_SHOT_EXAMPLES,
        passage,
        "Try it without the examples first: describe the form and the rules of the answer. Keep those that it needs.",
        "Reasoning models often need no examples, and examples that do not fit the instructions exactly make their "
        "answers worse. They are billed as input with every call.",
        BEST_PRACTICES,
        savings.of_characters(situation, passage.end - passage.start),
    )


def _missing_delimiters(prompt: Prompt, situation: Situation) -> Advice | None:
    passage = prompt.first(delimiters.missing) if situation.is_reasoning else None
    if passage is None:
        return None
    return Advice(
        AdviceRule.MISSING_DELIMITERS,
        passage,
        "Set the material off: triple quotes, a code fence, XML tags or a heading around it.",
        "Delimiters tell the model what is material and what is asked of it. Without them it reasons about where one "
        "ends, and may take words of the material for instructions.",
        BEST_PRACTICES,
    )


def _too_much_context(prompt: Prompt, situation: Situation) -> Advice | None:
    if prompt.length < context.LEAST_CHARACTERS:
        return None
    for text in prompt.told:
        found = context.excess(prompt.layouts[text.message], prompt.request)
        if found is None:
            continue
        start, end, characters = found
        return Advice(
            AdviceRule.TOO_MUCH_CONTEXT,
            text.passage(start, end),
            "Send the passages that bear on the question, and leave out the rest: about "
            f"{characters // savings.CHARACTERS_PER_TOKEN:,} tokens share no telling word with it.",
            "With retrieved material, the most relevant part alone keeps the model from complicating its answer; all "
            "of it is billed as input, and is reasoned about.",
            BEST_PRACTICES,
            savings.of_characters(situation, characters),
        )
    return None


def _verbose_answer(prompt: Prompt, situation: Situation) -> Advice | None:
    if situation.family != VERBOSE_FAMILY or prompt.last is None:
        return None
    rest = "\n".join(text.text for text in prompt.told if text.role != "user")[: work.READ]
    found = work.lacks_limit(f"{prompt.request}\n{rest.lower()}" if rest else prompt.request)
    if found is None:
        return None
    return Advice(
        AdviceRule.VERBOSE_ANSWER,
        _passage(prompt.last, prompt.request[found:].lstrip(".!?:,; \n")[:60]),
        'Add: "Limit yourself to the answer and don\'t add explanations or introductions."',
        "This model wraps its answers in explanations. Those words cut one prompt from 1,511 to 487 completion tokens.",
        TUTORIAL,
        savings.of_visible(situation, savings.SAVED_OF_VISIBLE),
    )


def _small_cap(prompt: Prompt, situation: Situation) -> Advice | None:
    cap = situation.cap
    if not situation.is_reasoning or cap is None:
        return None
    history = situation.history
    needed = ADVISED_CAP if history is None else history.cap_for(EMPTY_RISK)
    if cap >= needed:
        return None
    if history is None:
        why, source = (
            "so much OpenAI advises to leave for reasoning and answer until you know your own",
            REASONING_GUIDE,
        )
    else:
        why = f"99 in 100 of {history.calls:,} calls like it ({history.level}) needed no more"
        source = "The project's own calls"
    return Advice(
        AdviceRule.SMALL_CAP,
        None,
        f"Raise max_completion_tokens from {cap:,} to {needed:,}: {why}.",
        "The cap counts reasoning too. Where reasoning uses it up, the call is paid for and its answer is empty.",
        source,
        savings.of_empty_answers(situation, cap),
    )


def _large_model(prompt: Prompt, situation: Situation) -> Advice | None:
    if not situation.is_reasoning or situation.smaller is None or prompt.last is None:
        return None
    found = work.is_simple(prompt.request, length=prompt.length)
    if found is None:
        return None
    smaller = situation.smaller
    less = 100 - round(smaller.price_ratio * 100)
    instead = ", or a lower reasoning_effort" if situation.effort in {"medium", "high", "xhigh"} else ""
    return Advice(
        AdviceRule.LARGE_MODEL,
        _passage(prompt.last, prompt.request[slice(*found)]),
        f"Try {smaller.name} for this: its output costs {less} % less{instead}.",
        "Well-defined work such as translating, extracting, classifying or rewording gains little from a model that "
        "reasons; it is slower, and its reasoning is billed.",
        BEST_PRACTICES,
        savings.of_smaller(situation),
    )


def _passage(text: Text, phrase: str) -> Passage:
    """Where a phrase of the request stands; all of the text where material stands within it."""
    phrase = phrase.strip()
    start = text.low.find(phrase)
    return text.passage(start, start + len(phrase)) if start >= 0 else text.passage(0, len(text.text))


RULES = (
    _chain_of_thought,
    _asks_for_reasoning,
    _few_shot_examples,
    _missing_delimiters,
    _too_much_context,
    _verbose_answer,
    _small_cap,
    _large_model,
)
