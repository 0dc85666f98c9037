"""The provider's prices as they were read in public, each with its date and source.

Rows are added, never edited: a new price is a new row with a later date, and a migration that calls `seed` again.
US dollars per million tokens, as strings, so that no float ever touches them: input, cached input, output. A cached
price of None means that the provider gave no discount, so that cached input costs what input costs.

Not said by these rows, because a price has no field for it: from gpt-5.4 on a prompt of more than 272,000 tokens costs
twice the input and half as much again for output (the catalogue's windows keep prompts below that), and regional
processing costs a tenth more.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.apps.registry import Apps
from django.db.models import F

TUTORIAL = "OpenAI o1 API tutorial, September 2024"
DOCS = "OpenAI documentation, pricing, 2026-07"
LITELLM_2024 = "LiteLLM price map, 2024-11-28"
LITELLM_2025 = "LiteLLM price map, 2025"
LITELLM_2026 = "LiteLLM price map, 2026-11-12"
ALIAS_MOVED = "LiteLLM price map, 2024-11-28; the alias moved to the snapshot of 2024-08-06 in October 2024"
HALF = "half of the standard price, by the rule of the Batch API"
CUT_2026_07 = "simonw/llm-prices: cut of 2026-07-30"
GPT_6_2 = "LiteLLM discussion 52347 on GPT-6.2, 2026-11"

STANDARD, BATCH, FLEX, PRIORITY = "standard", "batch", "flex", "priority"

# Each row: model, service tier, from, input, cached input, output, source.
Row = tuple[str, str, date, str, str | None, str, str]

TUTORIAL_MODELS: list[Row] = [
    ("o1-preview", STANDARD, date(2024, 9, 12), "15", None, "60", TUTORIAL),
    ("o1-preview", STANDARD, date(2024, 11, 28), "15", "7.5", "60", LITELLM_2024),
    ("o1-preview", BATCH, date(2024, 11, 19), "7.5", None, "30", f"public price list of 2024-11; {HALF}"),
    ("o1-mini", STANDARD, date(2024, 9, 12), "3", None, "12", TUTORIAL),
    ("o1-mini", STANDARD, date(2024, 11, 28), "3", "1.5", "12", LITELLM_2024),
    (
        "o1-mini",
        STANDARD,
        date(2025, 2, 1),
        "1.1",
        "0.55",
        "4.4",
        "LiteLLM price map, 2025-02-01; OpenAI documentation, 2026-07",
    ),
    ("o1-mini", BATCH, date(2024, 11, 19), "1.5", None, "6", HALF),
    ("o1-mini", BATCH, date(2025, 2, 1), "0.55", None, "2.2", DOCS),
    ("gpt-4o", STANDARD, date(2024, 5, 13), "5", None, "15", TUTORIAL),
    ("gpt-4o", STANDARD, date(2024, 10, 2), "2.5", "1.25", "10", ALIAS_MOVED),
    ("gpt-4o", BATCH, date(2024, 5, 13), "2.5", None, "7.5", HALF),
    ("gpt-4o", BATCH, date(2024, 10, 2), "1.25", None, "5", DOCS),
    ("gpt-4o", PRIORITY, date(2025, 6, 30), "4.25", "2.125", "17", DOCS),
    ("gpt-4o-mini", STANDARD, date(2024, 7, 18), "0.15", None, "0.60", TUTORIAL),
    ("gpt-4o-mini", STANDARD, date(2024, 11, 28), "0.15", "0.075", "0.6", DOCS),
    ("gpt-4o-mini", BATCH, date(2024, 7, 18), "0.075", None, "0.3", DOCS),
    ("gpt-4o-mini", PRIORITY, date(2025, 6, 30), "0.25", "0.125", "1", DOCS),
    # Snapshots that are priced apart from their alias, on some days at least.
    ("gpt-4o-2024-05-13", STANDARD, date(2024, 5, 13), "5", None, "15", DOCS),
    ("gpt-4o-2024-05-13", BATCH, date(2024, 5, 13), "2.5", None, "7.5", DOCS),
    ("gpt-4o-2024-05-13", PRIORITY, date(2025, 6, 30), "8.75", None, "26.25", DOCS),
    ("gpt-4o-2024-08-06", STANDARD, date(2024, 8, 6), "2.5", None, "10", LITELLM_2024),
    ("gpt-4o-2024-08-06", STANDARD, date(2024, 11, 28), "2.5", "1.25", "10", LITELLM_2024),
    ("gpt-4o-2024-08-06", BATCH, date(2024, 8, 6), "1.25", None, "5", HALF),
]

O_SERIES: list[Row] = [
    ("o1", STANDARD, date(2024, 12, 17), "15", "7.5", "60", DOCS),
    ("o1", BATCH, date(2024, 12, 17), "7.5", None, "30", DOCS),
    ("o1-pro", STANDARD, date(2025, 3, 19), "150", None, "600", DOCS),
    ("o1-pro", BATCH, date(2025, 3, 19), "75", None, "300", DOCS),
    ("o3-mini", STANDARD, date(2025, 1, 31), "1.1", "0.55", "4.4", DOCS),
    ("o3-mini", BATCH, date(2025, 1, 31), "0.55", None, "2.2", DOCS),
    ("o3", STANDARD, date(2025, 4, 16), "10", "2.5", "40", "LiteLLM price map, 2025-04-19 to 2025-06-07"),
    ("o3", STANDARD, date(2025, 6, 10), "2", "0.5", "8", "price cut of June 2025; LiteLLM price map, 2025-06-14"),
    ("o3", BATCH, date(2025, 4, 16), "5", None, "20", HALF),
    ("o3", BATCH, date(2025, 6, 10), "1", None, "4", DOCS),
    ("o3", FLEX, date(2025, 4, 16), "5", "1.25", "20", "batch rates, by the rule of flex processing"),
    ("o3", FLEX, date(2025, 6, 10), "1", "0.25", "4", DOCS),
    ("o3", PRIORITY, date(2025, 6, 30), "3.5", "0.875", "14", DOCS),
    ("o3-pro", STANDARD, date(2025, 6, 10), "20", None, "80", DOCS),
    ("o3-pro", BATCH, date(2025, 6, 10), "10", None, "40", DOCS),
    ("o4-mini", STANDARD, date(2025, 4, 16), "1.1", "0.275", "4.4", DOCS),
    ("o4-mini", BATCH, date(2025, 4, 16), "0.55", None, "2.2", DOCS),
    ("o4-mini", FLEX, date(2025, 4, 16), "0.55", "0.138", "2.2", DOCS),
    ("o4-mini", PRIORITY, date(2025, 6, 30), "2", "0.5", "8", DOCS),
]

GPT_4_SERIES: list[Row] = [
    ("gpt-4.5-preview", STANDARD, date(2025, 2, 27), "75", "37.5", "150", LITELLM_2025),
    ("gpt-4.5-preview", BATCH, date(2025, 2, 27), "37.5", None, "75", HALF),
    ("gpt-4.1", STANDARD, date(2025, 4, 14), "2", "0.5", "8", DOCS),
    ("gpt-4.1", BATCH, date(2025, 4, 14), "1", None, "4", DOCS),
    ("gpt-4.1", PRIORITY, date(2025, 6, 30), "3.5", "0.875", "14", DOCS),
    ("gpt-4.1-mini", STANDARD, date(2025, 4, 14), "0.4", "0.1", "1.6", DOCS),
    ("gpt-4.1-mini", BATCH, date(2025, 4, 14), "0.2", None, "0.8", DOCS),
    ("gpt-4.1-mini", PRIORITY, date(2025, 6, 30), "0.7", "0.175", "2.8", DOCS),
    ("gpt-4.1-nano", STANDARD, date(2025, 4, 14), "0.1", "0.025", "0.4", DOCS),
    ("gpt-4.1-nano", BATCH, date(2025, 4, 14), "0.05", None, "0.2", DOCS),
    ("gpt-4.1-nano", PRIORITY, date(2025, 6, 30), "0.2", "0.05", "0.8", DOCS),
]

GPT_5_SERIES: list[Row] = [
    ("gpt-5", STANDARD, date(2025, 8, 7), "1.25", "0.125", "10", DOCS),
    ("gpt-5", BATCH, date(2025, 8, 7), "0.625", "0.0625", "5", DOCS),
    ("gpt-5", FLEX, date(2025, 8, 7), "0.625", "0.0625", "5", DOCS),
    ("gpt-5", PRIORITY, date(2025, 8, 7), "2.5", "0.25", "20", DOCS),
    ("gpt-5-mini", STANDARD, date(2025, 8, 7), "0.25", "0.025", "2", DOCS),
    ("gpt-5-mini", BATCH, date(2025, 8, 7), "0.125", "0.0125", "1", DOCS),
    ("gpt-5-mini", FLEX, date(2025, 8, 7), "0.125", "0.0125", "1", DOCS),
    ("gpt-5-mini", PRIORITY, date(2025, 8, 7), "0.45", "0.045", "3.6", DOCS),
    ("gpt-5-nano", STANDARD, date(2025, 8, 7), "0.05", "0.005", "0.4", DOCS),
    ("gpt-5-nano", BATCH, date(2025, 8, 7), "0.025", "0.0025", "0.2", DOCS),
    ("gpt-5-nano", FLEX, date(2025, 8, 7), "0.025", "0.0025", "0.2", DOCS),
    ("gpt-5-pro", STANDARD, date(2025, 10, 6), "15", None, "120", DOCS),
    ("gpt-5-pro", BATCH, date(2025, 10, 6), "7.5", None, "60", DOCS),
    ("gpt-5.1", STANDARD, date(2025, 11, 13), "1.25", "0.125", "10", DOCS),
    ("gpt-5.1", BATCH, date(2025, 11, 13), "0.625", "0.0625", "5", DOCS),
    ("gpt-5.1", FLEX, date(2025, 11, 13), "0.625", "0.0625", "5", DOCS),
    ("gpt-5.1", PRIORITY, date(2025, 11, 13), "2.5", "0.25", "20", DOCS),
    ("gpt-5.2", STANDARD, date(2025, 12, 11), "1.75", "0.175", "14", DOCS),
    ("gpt-5.2", BATCH, date(2025, 12, 11), "0.875", "0.0875", "7", DOCS),
    ("gpt-5.2", FLEX, date(2025, 12, 11), "0.875", "0.0875", "7", DOCS),
    ("gpt-5.2", PRIORITY, date(2025, 12, 11), "3.5", "0.35", "28", DOCS),
    ("gpt-5.4", STANDARD, date(2026, 3, 5), "2.5", "0.25", "15", DOCS),
    ("gpt-5.4", BATCH, date(2026, 3, 5), "1.25", "0.13", "7.5", DOCS),
    ("gpt-5.4", FLEX, date(2026, 3, 5), "1.25", "0.13", "7.5", DOCS),
    ("gpt-5.4", PRIORITY, date(2026, 3, 5), "5", "0.5", "30", DOCS),
    ("gpt-5.4-mini", STANDARD, date(2026, 3, 17), "0.75", "0.075", "4.5", DOCS),
    ("gpt-5.4-mini", BATCH, date(2026, 3, 17), "0.375", "0.0375", "2.25", DOCS),
    ("gpt-5.4-mini", FLEX, date(2026, 3, 17), "0.375", "0.0375", "2.25", DOCS),
    ("gpt-5.4-mini", PRIORITY, date(2026, 3, 17), "1.5", "0.15", "9", DOCS),
    ("gpt-5.4-nano", STANDARD, date(2026, 3, 17), "0.2", "0.02", "1.25", DOCS),
    ("gpt-5.4-nano", BATCH, date(2026, 3, 17), "0.1", "0.01", "0.625", DOCS),
    ("gpt-5.4-nano", FLEX, date(2026, 3, 17), "0.1", "0.01", "0.625", DOCS),
    ("gpt-5.5", STANDARD, date(2026, 4, 23), "5", "0.5", "30", DOCS),
    ("gpt-5.5", BATCH, date(2026, 4, 23), "2.5", "0.25", "15", DOCS),
    ("gpt-5.5", FLEX, date(2026, 4, 23), "2.5", "0.25", "15", DOCS),
    ("gpt-5.5", PRIORITY, date(2026, 4, 23), "12.5", "1.25", "75", DOCS),
]

# Models since 2026-07: batch and flex at half, priority at double the standard price (OpenAI documentation, 2026-07).
Price = tuple[str, date, str, str, str, str]
SINCE_GPT_5_6: list[Price] = [
    ("gpt-5.6-sol", date(2026, 7, 9), "5", "0.5", "30", DOCS),
    # Announced as a promotion until 2026-11-21 at least; the day on which it ends is not published.
    ("gpt-5.6-sol", date(2026, 9, 14), "4", "0.4", "20", "LiteLLM price map, 2026-09-14"),
    ("gpt-5.6-terra", date(2026, 7, 9), "2.5", "0.25", "15", DOCS),
    ("gpt-5.6-terra", date(2026, 7, 30), "2", "0.2", "12", CUT_2026_07),
    ("gpt-5.6-luna", date(2026, 7, 9), "1", "0.1", "6", DOCS),
    ("gpt-5.6-luna", date(2026, 7, 30), "0.2", "0.02", "1.2", CUT_2026_07),
    ("gpt-6-astra", date(2026, 9, 3), "10", "1", "50", LITELLM_2026),
    ("gpt-6-sol", date(2026, 9, 22), "2", "0.2", "10", LITELLM_2026),
    ("gpt-6-luna", date(2026, 9, 22), "0.1", "0.01", "0.5", LITELLM_2026),
    ("gpt-6.1-sol", date(2026, 9, 29), "2", "0.1", "10", LITELLM_2026),
    ("gpt-6.1-terra", date(2026, 10, 26), "1", "0.05", "5", LITELLM_2026),
    ("gpt-6.2-astra", date(2026, 11, 17), "8", "0.4", "40", GPT_6_2),
    ("gpt-6.2-sol", date(2026, 11, 17), "2", "0.1", "10", GPT_6_2),
]
# What input costs that is written to the cache, by what input costs (OpenAI's guide to prompt caching, 2026-07: from
# the family of gpt-5.6 on; without a fee before).
CACHE_WRITE = Decimal("1.25")
FACTORS = {STANDARD: Decimal(1), BATCH: Decimal("0.5"), FLEX: Decimal("0.5"), PRIORITY: Decimal(2)}


@dataclass(frozen=True, slots=True)
class PriceSeed:
    model: str
    service_tier: str
    effective_from: date
    input: Decimal
    cached_input: Decimal
    output: Decimal
    source: str
    cache_write: Decimal | None = None


def prices() -> list[PriceSeed]:
    """Every price."""
    published = [
        PriceSeed(model, tier, since, Decimal(given), Decimal(cached or given), Decimal(output), source)
        for model, tier, since, given, cached, output, source in TUTORIAL_MODELS
        + O_SERIES
        + GPT_4_SERIES
        + GPT_5_SERIES
    ]
    derived = [
        PriceSeed(
            model,
            tier,
            since,
            Decimal(given) * factor,
            Decimal(cached) * factor,
            Decimal(output) * factor,
            source
            if tier == STANDARD
            else f"{source}; {tier} at {factor} of the standard price (OpenAI documentation, 2026-07)",
            Decimal(given) * factor * CACHE_WRITE,
        )
        for model, since, given, cached, output, source in SINCE_GPT_5_6
        for tier, factor in FACTORS.items()
    ]
    return published + derived


def seed(apps: Apps) -> None:
    """Add the rows that are missing. One of the same model, tier and day stays as it is, as corrected by people."""
    model = apps.get_model("billing", "Price")
    # Prices of cache writes came later than the first migration that seeds.
    has_writes = any(field.name == "cache_write_usd_per_million" for field in model._meta.get_fields())
    model.objects.bulk_create(
        [
            model(
                model=price.model,
                service_tier=price.service_tier,
                input_usd_per_million=price.input,
                cached_input_usd_per_million=price.cached_input,
                output_usd_per_million=price.output,
                effective_from=price.effective_from,
                source=price.source,
                **({"cache_write_usd_per_million": price.cache_write} if has_writes else {}),
            )
            for price in prices()
        ],
        ignore_conflicts=True,
    )


def price_cache_writes(apps: Apps) -> None:
    """What writing to the cache costs, onto the prices of the models that take a fee for it; also onto used ones.

    Records keep the figures that they were made with.
    """
    names = {model for model, *_ in SINCE_GPT_5_6}
    rows = apps.get_model("billing", "Price").objects.filter(model__in=names, cache_write_usd_per_million__isnull=True)
    rows.update(cache_write_usd_per_million=F("input_usd_per_million") * CACHE_WRITE)
