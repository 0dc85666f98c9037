"""What a comparison asks: prompts and variants, and the request that one makes of the other. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from billing.models import ServiceTier
from jobs.comparisons.errors import WordingHasNoPlace
from jobs.validation import PromptRequest

# What is told of a variant beside its name; other parameters and the wording are content.
EFFORT, CAP = "reasoning_effort", "max_completion_tokens"
MOST_PROMPTS, MOST_VARIANTS, MOST_TIMES, MOST_RUNS = 100, 12, 20, 1000


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that is run on every variant. `param`: what its messages are called in the request that brought it."""

    name: str
    messages: list[dict[str, Any]]
    param: str = "prompts"


@dataclass(frozen=True, slots=True)
class Variant:
    """A model with its parameters. `wording` is added to the last message of the user."""

    name: str
    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    wording: str = ""
    service_tier: ServiceTier = ServiceTier.STANDARD

    @property
    def effort(self) -> str | None:
        """As asked; None: the model's own default."""
        return self.parameters.get(EFFORT)

    @property
    def cap(self) -> int | None:
        """As asked; None: as much as the model can make."""
        return self.parameters.get(CAP)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A comparison as somebody asks for it. `baseline`: the place of that variant among them, from 0."""

    prompts: Sequence[Prompt]
    variants: Sequence[Variant]
    times: int
    max_cost_usd: Decimal
    baseline: int = 0
    name: str = ""

    @property
    def runs(self) -> int:
        """How many calls it makes at most."""
        return len(self.prompts) * len(self.variants) * self.times


def request_of(prompt: Prompt, variant: Variant) -> PromptRequest:
    """What is asked of the model. Raises WordingHasNoPlace where a wording has no message to stand in."""
    messages = worded(prompt.messages, variant.wording) if variant.wording else prompt.messages
    return PromptRequest(variant.model, messages, dict(variant.parameters))


def worded(messages: list[dict[str, Any]], wording: str) -> list[dict[str, Any]]:
    """The messages with a wording behind the last text of the user, a blank between them where there is none."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, dict) and message.get("role") == "user":
            content = _longer(message.get("content"), wording)
            return [*messages[:place], {**message, "content": content}, *messages[place + 1 :]]
    raise WordingHasNoPlace


def _longer(content: Any, wording: str) -> Any:
    if isinstance(content, str):
        return _joined(content, wording)
    if not isinstance(content, list):
        raise WordingHasNoPlace
    for place in range(len(content) - 1, -1, -1):
        part = content[place]
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
            return [*content[:place], {**part, "text": _joined(part["text"], wording)}, *content[place + 1 :]]
    return [*content, {"type": "text", "text": wording}]


def _joined(text: str, wording: str) -> str:
    is_apart = text[-1:].isspace() or wording[0].isspace()
    return f"{text}{wording}" if is_apart or not text else f"{text} {wording}"


def named(variants: Sequence[Variant]) -> list[Variant]:
    """The variants, each with a name of its own: its own one, or what tells it apart."""
    given = {variant.name for variant in variants if variant.name}
    found: list[Variant] = []
    for variant in variants:
        name = variant.name or _free(_described(variant), given)
        given.add(name)
        found.append(replace(variant, name=name))
    return found


def _described(variant: Variant) -> str:
    parts = [variant.model]
    if variant.effort:
        parts.append(f"effort {variant.effort}")
    if variant.cap:
        parts.append(f"cap {variant.cap}")
    if variant.service_tier != ServiceTier.STANDARD:
        parts.append(variant.service_tier.value)
    if variant.wording:
        parts.append("other wording")
    return ", ".join(parts)


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where it is taken."""
    number = 1
    while (free := name if number == 1 else f"{name} ({number})") in taken:
        number += 1
    return free


def in_order(wanted: Wanted) -> Iterator[tuple[int, int, int]]:
    """Round, prompt and variant of each run, from 1, in the order in which they become jobs.

    By rounds, and within each by prompts: a comparison that meets its ceiling has compared what it has run.
    """
    for turn in range(1, wanted.times + 1):
        for prompt in range(1, len(wanted.prompts) + 1):
            for variant in range(1, len(wanted.variants) + 1):
                yield turn, prompt, variant
