"""The provider's models as they were read in public: sizes, what they take, from when until when.

Rows are added, never edited: `seed` leaves a model that is there as it is, since people may have corrected it.

Which parameters a model takes follows the limitations of the beta (OpenAI o1 API tutorial, September 2024), users'
measurements (community.openai.com threads 1025430 of 2024-11 and 1110750 of 2025-02), the openai-python 3.54 types and,
from gpt-5.1 on, OpenAI's guides of 2026-07. Where those are silent the parameter is let through: the provider's own
refusal costs nothing.
"""

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from django.apps.registry import Apps

CHAT, RESPONSES, BATCH = "chat", "responses", "batch"
EVERYWHERE = (CHAT, RESPONSES, BATCH)

EVERY_ROLE = ("developer", "system", "user", "assistant", "tool")
EVERY_FORMAT = ("text", "json_object", "json_schema")

# Parameters by what they are for. `validation.py` knows the type of each.
CAP = ("max_completion_tokens",)
OLD_CAP = ("max_tokens",)
SAMPLING = ("temperature", "top_p", "logprobs", "top_logprobs")
PENALTIES = ("presence_penalty", "frequency_penalty")
ACCOUNTING = ("store", "metadata", "user", "safety_identifier", "prompt_cache_key", "service_tier")
FORMAT = ("response_format",)
TEXT = ("seed", "stop", "logit_bias")
TOOLS = ("tools", "tool_choice", "functions", "function_call")
STREAM = ("stream", "stream_options")
COMMON = CAP + ACCOUNTING + FORMAT

# What a reasoning model has fixed. SAMPLING may stand among the free parameters as well: it is free while a model that
# can does not reason (reasoning_effort "none", or no effort where none is its default).
FIXED = {"temperature": 1, "top_p": 1, "n": 1, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False}
FIXED_BETA = {**FIXED, "stream": False}
# o1 and o3-mini refuse the parameter temperature instead of its value, and let its default pass all the same.
FIXED_O1 = {name: value for name, value in FIXED.items() if name != "temperature"}

# A prompt above this many tokens costs double from gpt-5.4 on, which a price row cannot say. Until one can, such a
# prompt is refused rather than charged too little; the provider takes 922,000 tokens and 128,000 more of completion.
DEARER_ABOVE = 272_000
WINDOW_KEPT_SMALL = f"; window kept at {DEARER_ABOVE:,} of 1,050,000 tokens, above which input costs double"


@dataclass(frozen=True, slots=True)
class SnapshotSeed:
    name: str
    is_current: bool = True
    max_output_tokens: int | None = None
    shutdown_on: date | None = None


@dataclass(frozen=True, slots=True)
class ModelSeed:
    name: str
    released_on: date
    context_window: int
    max_output_tokens: int
    source: str
    snapshots: tuple[SnapshotSeed, ...] = ()
    is_reasoning: bool = True
    endpoints: tuple[str, ...] = EVERYWHERE
    roles: tuple[str, ...] = EVERY_ROLE
    parameters: tuple[str, ...] = ()
    fixed_parameters: dict[str, Any] = field(default_factory=lambda: dict(FIXED))
    reasoning_efforts: tuple[str, ...] = ()
    response_formats: tuple[str, ...] = EVERY_FORMAT
    accepts_images: bool = True
    accepts_tools: bool = True
    minimum_tier: int = 1
    shutdown_on: date | None = None
    successor: str = ""


def _snapshot(name: str) -> tuple[SnapshotSeed, ...]:
    return (SnapshotSeed(name),)


# --- Models that do not reason ----------------------------------------------------------------------------------------
_FREE = COMMON + OLD_CAP + SAMPLING + PENALTIES + TEXT + TOOLS + STREAM + ("n", "parallel_tool_calls", "prediction")

GPT_4O = ModelSeed(
    name="gpt-4o",
    released_on=date(2024, 5, 13),
    context_window=128_000,
    max_output_tokens=16_384,
    source="LiteLLM price map, 2024-11-28; openai-python 3.54 model list; OpenAI deprecations, 2026-10-14",
    snapshots=(
        SnapshotSeed("gpt-4o-2024-05-13", is_current=False, max_output_tokens=4_096, shutdown_on=date(2026, 10, 23)),
        SnapshotSeed("gpt-4o-2024-08-06"),
        SnapshotSeed("gpt-4o-2024-11-20", is_current=False),
    ),
    is_reasoning=False,
    roles=(*EVERY_ROLE, "function"),
    parameters=(*_FREE, "modalities"),
    fixed_parameters={},
    shutdown_on=date(2027, 1, 14),
    successor="gpt-6-luna",
)
GPT_4O_MINI = replace(
    GPT_4O, name="gpt-4o-mini", released_on=date(2024, 7, 18), snapshots=_snapshot("gpt-4o-mini-2024-07-18")
)
GPT_4_5 = replace(
    GPT_4O,
    name="gpt-4.5-preview",
    released_on=date(2025, 2, 27),
    source="LiteLLM price map, 2025-03; OpenAI deprecations, 2025-04-14",
    snapshots=_snapshot("gpt-4.5-preview-2025-02-27"),
    parameters=_FREE,
    shutdown_on=date(2025, 7, 14),
    successor="gpt-4.1",
)
GPT_4_1 = replace(
    GPT_4O,
    name="gpt-4.1",
    released_on=date(2025, 4, 14),
    context_window=1_047_576,
    max_output_tokens=32_768,
    source="LiteLLM price map, 2025-04; openai-python 3.54 model list; OpenAI deprecations, 2026-10-14",
    snapshots=_snapshot("gpt-4.1-2025-04-14"),
    parameters=(*_FREE, "prompt_cache_retention"),
)
GPT_4_1_MINI = replace(GPT_4_1, name="gpt-4.1-mini", snapshots=_snapshot("gpt-4.1-mini-2025-04-14"))
GPT_4_1_NANO = replace(
    GPT_4_1,
    name="gpt-4.1-nano",
    source="LiteLLM price map, 2025-04; openai-python 3.54 model list; OpenAI deprecations, 2026-10-15",
    snapshots=_snapshot("gpt-4.1-nano-2025-04-14"),
    shutdown_on=date(2026, 10, 23),
    successor="gpt-5.6-luna",
)

# --- o-series ---------------------------------------------------------------------------------------------------------
# No batches at launch, and no roles but user and assistant. Seen accepted in November 2024: logit_bias.
O1_PREVIEW = ModelSeed(
    name="o1-preview",
    released_on=date(2024, 9, 12),
    context_window=128_000,
    max_output_tokens=32_768,
    source="OpenAI o1 API tutorial, September 2024; openai-python 3.54 model list; OpenAI deprecations, 2025-04-28 "
    "(names o3, which is shut down from 2026-12-11) and 2026-10-28 (gpt-5.6-sol in its place)",
    snapshots=_snapshot("o1-preview-2024-09-12"),
    endpoints=(CHAT,),
    roles=("user", "assistant"),
    parameters=COMMON + TEXT,
    fixed_parameters=FIXED_BETA,
    response_formats=("text",),
    accepts_images=False,
    accepts_tools=False,
    minimum_tier=5,
    shutdown_on=date(2025, 7, 28),
    successor="gpt-5.6-sol",
)
O1_MINI = replace(
    O1_PREVIEW,
    name="o1-mini",
    max_output_tokens=65_536,
    source="OpenAI o1 API tutorial, September 2024; openai-python 3.54 model list; OpenAI deprecations, 2025-04-28 "
    "(names o4-mini, shut down on 2026-10-23) and 2026-10-15 (gpt-5.6-terra in its place)",
    snapshots=_snapshot("o1-mini-2024-09-12"),
    shutdown_on=date(2025, 10, 27),
    successor="gpt-5.6-terra",
)
O1 = ModelSeed(
    name="o1",
    released_on=date(2024, 12, 17),
    context_window=200_000,
    max_output_tokens=100_000,
    source="LiteLLM price map, 2025-01; openai-python 3.54 model list; OpenAI deprecations, 2026-10-15",
    snapshots=_snapshot("o1-2024-12-17"),
    parameters=COMMON + TOOLS + STREAM + ("seed", "stop", "reasoning_effort"),
    fixed_parameters=FIXED_O1,
    reasoning_efforts=("low", "medium", "high"),
    shutdown_on=date(2026, 10, 23),
    successor="gpt-5.6-sol",
)
O1_PRO = replace(
    O1,
    name="o1-pro",
    released_on=date(2025, 3, 19),
    source="LiteLLM price map, 2025-03; OpenAI deprecations, 2026-10-15 (gpt-5.6-sol with reasoning.mode pro)",
    snapshots=_snapshot("o1-pro-2025-03-19"),
    endpoints=(RESPONSES, BATCH),
)
O3_MINI = replace(
    O1,
    name="o3-mini",
    released_on=date(2025, 1, 31),
    source="LiteLLM price map, 2025-02; openai-python 3.54 model list; OpenAI deprecations, 2026-10-15",
    snapshots=_snapshot("o3-mini-2025-01-31"),
    accepts_images=False,
)
O3 = replace(
    O1,
    name="o3",
    released_on=date(2025, 4, 16),
    source="LiteLLM price map, 2025-04; openai-python 3.54 model list; OpenAI deprecations, 2026-10-28",
    snapshots=_snapshot("o3-2025-04-16"),
    parameters=COMMON + TOOLS + STREAM + ("seed", "reasoning_effort"),
    fixed_parameters=FIXED,
    shutdown_on=date(2026, 12, 11),
)
O3_PRO = replace(
    O3,
    name="o3-pro",
    released_on=date(2025, 6, 10),
    source="LiteLLM price map, 2025-06; OpenAI deprecations, 2026-10-28 (gpt-5.6-sol with reasoning.mode pro)",
    snapshots=_snapshot("o3-pro-2025-06-10"),
    endpoints=(RESPONSES, BATCH),
)
O4_MINI = replace(
    O3,
    name="o4-mini",
    source="LiteLLM price map, 2025-04; openai-python 3.54 model list; OpenAI deprecations, 2026-10-15",
    snapshots=_snapshot("o4-mini-2025-04-16"),
    shutdown_on=date(2026, 10, 23),
    successor="gpt-5.6-terra",
)

# --- gpt-5 and later --------------------------------------------------------------------------------------------------
_GPT_5 = COMMON + TOOLS + STREAM + ("seed", "parallel_tool_calls", "reasoning_effort", "verbosity")

GPT_5 = ModelSeed(
    name="gpt-5",
    released_on=date(2025, 8, 7),
    context_window=400_000,
    max_output_tokens=128_000,
    source="LiteLLM price map, 2025-08; openai-python 3.54 model list; OpenAI deprecations, 2026-11",
    snapshots=_snapshot("gpt-5-2025-08-07"),
    parameters=(*_GPT_5, "prompt_cache_retention"),
    reasoning_efforts=("minimal", "low", "medium", "high"),
    shutdown_on=date(2026, 12, 11),
    successor="gpt-6.1-sol",
)
GPT_5_MINI = replace(GPT_5, name="gpt-5-mini", snapshots=_snapshot("gpt-5-mini-2025-08-07"), successor="gpt-6.1-terra")
GPT_5_NANO = replace(GPT_5, name="gpt-5-nano", snapshots=_snapshot("gpt-5-nano-2025-08-07"), successor="gpt-6-luna")
GPT_5_PRO = replace(
    GPT_5,
    name="gpt-5-pro",
    released_on=date(2025, 10, 6),
    max_output_tokens=272_000,
    source="LiteLLM price map, 2025-10; OpenAI deprecations, 2026-10-28 (gpt-5.6-sol with reasoning.mode pro)",
    snapshots=_snapshot("gpt-5-pro-2025-10-06"),
    endpoints=(RESPONSES, BATCH),
    reasoning_efforts=("high",),
    successor="gpt-5.6-sol",
)
# By default gpt-5.1 to gpt-5.4 do not reason (effort "none"), and then sampling is free; so it stands in both lists.
GPT_5_1 = replace(
    GPT_5,
    name="gpt-5.1",
    released_on=date(2025, 11, 13),
    source="OpenAI documentation, GPT-5.1 guide, 2026-07; openai-python 3.54 model list (replacement not read yet)",
    snapshots=_snapshot("gpt-5.1-2025-11-13"),
    parameters=(*_GPT_5, *SAMPLING, "prompt_cache_retention"),
    reasoning_efforts=("none", "low", "medium", "high"),
    shutdown_on=date(2027, 4, 1),
    successor="",
)
GPT_5_2 = replace(
    GPT_5_1,
    name="gpt-5.2",
    released_on=date(2025, 12, 11),
    source="OpenAI documentation, GPT-5.2 guide, 2026-07; openai-python 3.54 model list",
    snapshots=_snapshot("gpt-5.2-2025-12-11"),
    reasoning_efforts=("none", "low", "medium", "high", "xhigh"),
    shutdown_on=None,
)
GPT_5_4 = replace(
    GPT_5_2,
    name="gpt-5.4",
    released_on=date(2026, 3, 5),
    context_window=DEARER_ABOVE,
    source="OpenAI documentation, GPT-5.4 guide and pricing, 2026-07" + WINDOW_KEPT_SMALL,
    snapshots=(),
)
GPT_5_4_MINI = replace(
    GPT_5_2,
    name="gpt-5.4-mini",
    released_on=date(2026, 3, 17),
    source="OpenAI documentation, pricing, 2026-07; openai-python 3.54 model list",
    snapshots=_snapshot("gpt-5.4-mini-2026-03-17"),
)
GPT_5_4_NANO = replace(
    GPT_5_4_MINI,
    name="gpt-5.4-nano",
    source="OpenAI documentation, pricing, 2026-07; openai-python 3.54 model list (replacement not read yet)",
    snapshots=_snapshot("gpt-5.4-nano-2026-03-17"),
    shutdown_on=date(2027, 4, 1),
)
GPT_5_5 = replace(
    GPT_5_4,
    name="gpt-5.5",
    released_on=date(2026, 4, 23),
    source="OpenAI documentation, GPT-5.5 guide and pricing, 2026-07" + WINDOW_KEPT_SMALL,
    snapshots=_snapshot("gpt-5.5-2026-04-23"),
    parameters=(*_GPT_5, "prompt_cache_retention"),
)
GPT_5_6_SOL = replace(
    GPT_5_5,
    name="gpt-5.6-sol",
    released_on=date(2026, 7, 9),
    source="OpenAI documentation, GPT-5.6 guide and pricing, 2026-07" + WINDOW_KEPT_SMALL,
    snapshots=(),
    parameters=(*_GPT_5, "prompt_cache_retention", "prompt_cache_options"),
    reasoning_efforts=("none", "low", "medium", "high", "xhigh", "max"),
)
GPT_5_6_TERRA = replace(GPT_5_6_SOL, name="gpt-5.6-terra")
GPT_5_6_LUNA = replace(GPT_5_6_SOL, name="gpt-5.6-luna")

_NO_NONE = ("low", "medium", "high", "xhigh", "max")
GPT_6_SOL = replace(
    GPT_5_6_SOL,
    name="gpt-6-sol",
    released_on=date(2026, 9, 22),
    source="LiteLLM notes on GPT-6 Sol and Luna, 2026-09-22; LiteLLM price map, 2026-11-12" + WINDOW_KEPT_SMALL,
    parameters=(*_GPT_5, "prompt_cache_options"),
)
GPT_6_LUNA = replace(GPT_6_SOL, name="gpt-6-luna")
GPT_6_ASTRA = replace(
    GPT_6_SOL,
    name="gpt-6-astra",
    released_on=date(2026, 9, 3),
    source="apidog.com guide to GPT-6 Astra, 2026-09; LiteLLM price map, 2026-11-12" + WINDOW_KEPT_SMALL,
    reasoning_efforts=_NO_NONE,
)
GPT_6_1_SOL = replace(
    GPT_6_ASTRA,
    name="gpt-6.1-sol",
    released_on=date(2026, 9, 29),
    source="apidog.com comparison of GPT-6.1 Terra and Sol, 2026-10-27; LiteLLM price map, 2026-11-12"
    + WINDOW_KEPT_SMALL,
)
GPT_6_1_TERRA = replace(
    GPT_6_SOL,
    name="gpt-6.1-terra",
    released_on=date(2026, 10, 26),
    source="OpenAI documentation, GPT-6.1 Terra model page, 2026-11; LiteLLM price map, 2026-11-12" + WINDOW_KEPT_SMALL,
)
GPT_6_2_ASTRA = replace(
    GPT_6_ASTRA,
    name="gpt-6.2-astra",
    released_on=date(2026, 11, 17),
    source="LiteLLM discussion 52347 on GPT-6.2, 2026-11; openai-python 3.54 model list" + WINDOW_KEPT_SMALL,
)
GPT_6_2_SOL = replace(GPT_6_2_ASTRA, name="gpt-6.2-sol")

MODELS = (
    GPT_4O, GPT_4O_MINI, GPT_4_5, GPT_4_1, GPT_4_1_MINI, GPT_4_1_NANO,
    O1_PREVIEW, O1_MINI, O1, O1_PRO, O3_MINI, O3, O3_PRO, O4_MINI,
    GPT_5, GPT_5_MINI, GPT_5_NANO, GPT_5_PRO, GPT_5_1, GPT_5_2, GPT_5_4, GPT_5_4_MINI, GPT_5_4_NANO, GPT_5_5,
    GPT_5_6_SOL, GPT_5_6_TERRA, GPT_5_6_LUNA, GPT_6_ASTRA, GPT_6_SOL, GPT_6_LUNA, GPT_6_1_SOL, GPT_6_1_TERRA,
    GPT_6_2_ASTRA, GPT_6_2_SOL,
)  # fmt: skip


def seed(apps: Apps) -> None:
    """Add the models and snapshots that are missing."""
    models, snapshots = apps.get_model("jobs", "LanguageModel"), apps.get_model("jobs", "ModelSnapshot")
    models.objects.bulk_create(
        [
            models(
                name=model.name,
                is_reasoning=model.is_reasoning,
                context_window=model.context_window,
                max_output_tokens=model.max_output_tokens,
                endpoints=list(model.endpoints),
                roles=list(model.roles),
                parameters=sorted(model.parameters),
                fixed_parameters=model.fixed_parameters,
                reasoning_efforts=list(model.reasoning_efforts),
                response_formats=list(model.response_formats),
                accepts_images=model.accepts_images,
                accepts_tools=model.accepts_tools,
                minimum_tier=model.minimum_tier,
                released_on=model.released_on,
                shutdown_on=model.shutdown_on,
                successor=model.successor,
                source=model.source,
            )
            for model in MODELS
        ],
        ignore_conflicts=True,
    )
    ids = dict(models.objects.values_list("name", "id"))
    snapshots.objects.bulk_create(
        [
            snapshots(
                model_id=ids[model.name],
                name=snapshot.name,
                is_current=snapshot.is_current,
                max_output_tokens=snapshot.max_output_tokens,
                shutdown_on=snapshot.shutdown_on,
            )
            for model in MODELS
            for snapshot in model.snapshots
        ],
        ignore_conflicts=True,
    )
