"""The models that the simulator serves: windows, accepted parameters, limits by tier and prices, from `models.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

TIERS = (1, 2, 3, 4, 5)

Endpoint = Literal["chat", "responses"]
EVERYWHERE: tuple[Endpoint, ...] = ("chat", "responses")
# How a model answers to a temperature other than 1: takes any, refuses the value, refuses the parameter.
TemperatureRule = Literal["any", "value", "parameter"]
# Whether it streams: yes; no, in the words of September and of December 2024; only for verified organizations.
StreamingRule = Literal["yes", "default_false", "supported_false", "verified"]


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: Decimal
    cached_input: Decimal
    output: Decimal


@dataclass(frozen=True, slots=True)
class Limits:
    """What one organization may use of one model family in a minute."""

    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Model:
    """One model id as the provider knows it. `family` shares a rate limit; `efforts` is in the order it prints."""

    id: str
    snapshot: str
    family: str
    created: int
    context: int
    max_input: int | None
    max_output: int
    endpoints: frozenset[Endpoint]
    reasoning: bool
    refuses: frozenset[str]
    temperature: TemperatureRule
    streaming: StreamingRule
    efforts: tuple[str, ...]
    tiny_cap: int  # a cap of so few tokens is an error, not an empty answer
    writes_cache: bool  # what it writes to the cache costs 1.25 times the input, and is told
    long_prompt: bool  # a prompt above 272,000 tokens costs double input and half as much again of output
    prices: Mapping[str, Price]
    batch_price: Price | None  # None: the model is not served in batches
    limits: Mapping[int, Limits]


@cache
def catalogue() -> Mapping[str, Model]:
    """Every model by id, and by snapshot id where that is not a row of its own."""
    raw = json.loads((Path(__file__).parent / "models.json").read_text(encoding="utf-8"))
    models = [_model(row, raw["traits"][row["traits"]], raw["limits"][row["limits"]]) for row in raw["models"]]
    return {model.snapshot: model for model in models} | {model.id: model for model in models}


def _model(row: Mapping[str, Any], traits: Mapping[str, Any], limits: Mapping[str, list[int]]) -> Model:
    return Model(
        id=row["id"],
        snapshot=row["snapshot"],
        family=row.get("family", row["id"]),
        created=row["created"],
        context=row["context"],
        max_input=row.get("max_input"),
        max_output=row["max_output"],
        endpoints=frozenset(row.get("endpoints", EVERYWHERE)),
        reasoning=traits["reasoning"],
        refuses=frozenset(traits["refuses"]),
        temperature=traits["temperature"],
        streaming=traits["streaming"],
        efforts=tuple(traits["efforts"]),
        tiny_cap=traits["tiny_cap"],
        writes_cache=traits.get("writes_cache", False),
        long_prompt=row.get("long_prompt", False),
        prices={tier: Price(*map(Decimal, price)) for tier, price in row["prices"].items()},
        batch_price=Price(*map(Decimal, row["batch_price"])) if "batch_price" in row else None,
        limits={int(tier): Limits(*pair) for tier, pair in limits.items()},
    )


def served(tier: int, overrides: Mapping[str, Limits]) -> Mapping[str, Model]:
    """The models that an organization of this tier has access to; an override of the limits grants the access too."""
    return {name: model for name, model in catalogue().items() if tier in model.limits or model.family in overrides}
