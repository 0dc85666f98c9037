"""The provider's usage tiers and rate limits as they were read in public, each with its date and source.

Rows are added, never edited: a new term is a new row with a later date, and a migration that calls `seed` again.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.apps.registry import Apps

TUTORIAL = "OpenAI o1 API tutorial, September 2024"
LAUNCH = "OpenAI o1 launch post, 2024-09-12: 20 requests per minute, tier 5 only"
OPENED = "community.openai.com threads 1025430 and 1028595, 2024-11: o1 models opened to tiers 1-5"
TABLE_2025 = "ai-buzz.com table of OpenAI rate limits by tier, 2025 (third party; agrees with the tutorial at tier 5)"
TABLE_2025_O3_MINI = "ai-buzz.com table of OpenAI rate limits by tier, 2025 (third party, marked there as uncertain)"
ASSUMED = (
    "Bursar's conservative assumption: gpt-4o's figures of 2025, because the provider tabulates none for this model. "
    "Correct it from the account's limits page or the x-ratelimit headers of a call."
)


@dataclass(frozen=True, slots=True)
class TierSeed:
    number: int
    name: str
    minimum_paid_usd: str
    minimum_days: int
    monthly_limit_usd: str


TIERS: dict[tuple[date, str], tuple[TierSeed, ...]] = {
    (date(2024, 9, 1), TUTORIAL): (
        TierSeed(0, "Free", "0", 0, "100"),
        TierSeed(1, "Tier 1", "5", 0, "100"),
        TierSeed(2, "Tier 2", "50", 7, "500"),
        TierSeed(3, "Tier 3", "100", 7, "1000"),
        TierSeed(4, "Tier 4", "250", 14, "5000"),
        TierSeed(5, "Tier 5", "1000", 30, "50000"),
    ),
    (date(2026, 7, 1), "OpenAI documentation, 2026-07"): (
        TierSeed(0, "Free", "0", 0, "100"),
        TierSeed(1, "Tier 1", "5", 0, "100"),
        TierSeed(2, "Tier 2", "50", 0, "500"),
        TierSeed(3, "Tier 3", "100", 0, "1000"),
        TierSeed(4, "Tier 4", "250", 0, "5000"),
        TierSeed(5, "Tier 5", "1000", 0, "200000"),
    ),
}


@dataclass(frozen=True, slots=True)
class RateLimitSeed:
    tier: int
    model: str
    requests_per_minute: int
    tokens_per_minute: int | None
    effective_from: date
    source: str
    requests_per_day: int | None = None
    batch_queue_tokens: int | None = None


# Requests and tokens per minute of tiers 1 to 5.
GPT_4O = ((500, 30_000), (5_000, 450_000), (5_000, 800_000), (10_000, 2_000_000), (10_000, 30_000_000))
GPT_4O_MINI = ((500, 200_000), (5_000, 2_000_000), (5_000, 4_000_000), (10_000, 10_000_000), (30_000, 150_000_000))
O3_MINI = (*GPT_4O[:4], (10_000, 150_000_000))
# Batch queues are published for the lowest and the highest tier only; the tiers between get the lower of the two.
GPT_4O_QUEUE = (90_000, 90_000, 90_000, 90_000, 5_000_000_000)
GPT_4O_MINI_QUEUE = (2_000_000, 2_000_000, 2_000_000, 2_000_000, 15_000_000_000)
LOWEST_QUEUE = (90_000,) * 5

# Families whose limits are not tabulated, with the day from which they could be called.
ASSUMED_FROM = {
    "gpt-4.5-preview": date(2025, 2, 27),
    "o1-pro": date(2025, 3, 19),
    "gpt-4.1": date(2025, 4, 14),
    "gpt-4.1-mini": date(2025, 4, 14),
    "gpt-4.1-nano": date(2025, 4, 14),
    "o3": date(2025, 4, 16),
    "o4-mini": date(2025, 4, 16),
    "o3-pro": date(2025, 6, 10),
    "gpt-5": date(2025, 8, 7),
    "gpt-5-mini": date(2025, 8, 7),
    "gpt-5-nano": date(2025, 8, 7),
    "gpt-5-pro": date(2025, 10, 6),
    "gpt-5.1": date(2025, 11, 13),
    "gpt-5.2": date(2025, 12, 11),
    "gpt-5.4": date(2026, 3, 5),
    "gpt-5.4-mini": date(2026, 3, 17),
    "gpt-5.4-nano": date(2026, 3, 17),
    "gpt-5.5": date(2026, 4, 23),
    "gpt-5.6-sol": date(2026, 7, 9),
    "gpt-5.6-terra": date(2026, 7, 9),
    "gpt-5.6-luna": date(2026, 7, 9),
    "gpt-6-astra": date(2026, 9, 3),
    "gpt-6-sol": date(2026, 9, 22),
    "gpt-6-luna": date(2026, 9, 22),
    "gpt-6.1-sol": date(2026, 9, 29),
    "gpt-6.1-terra": date(2026, 10, 26),
    "gpt-6.2-astra": date(2026, 11, 17),
    "gpt-6.2-sol": date(2026, 11, 17),
}


def _by_tier(
    model: str,
    figures: tuple[tuple[int, int], ...],
    effective_from: date,
    source: str,
    queue: tuple[int | None, ...] = (None,) * 5,
) -> list[RateLimitSeed]:
    return [
        RateLimitSeed(tier, model, requests, tokens, effective_from, source, batch_queue_tokens=waiting)
        for tier, ((requests, tokens), waiting) in enumerate(zip(figures, queue, strict=True), start=1)
    ]


def rate_limits() -> list[RateLimitSeed]:
    """Every rate limit, oldest term first within a model."""
    launch, september = date(2024, 9, 12), date(2024, 9, 20)
    november, year_2025 = date(2024, 11, 19), date(2025, 2, 1)
    rows = [
        # The launch post states requests only; a limit on tokens is not known for those days.
        RateLimitSeed(5, "o1-preview", 20, None, launch, LAUNCH),
        RateLimitSeed(5, "o1-mini", 20, None, launch, LAUNCH),
        RateLimitSeed(5, "o1-preview", 500, 30_000_000, september, TUTORIAL),
        RateLimitSeed(5, "o1-mini", 1_000, 150_000_000, september, TUTORIAL),
        RateLimitSeed(5, "gpt-4o", 10_000, 30_000_000, september, TUTORIAL, batch_queue_tokens=5_000_000_000),
        RateLimitSeed(5, "gpt-4o-mini", 30_000, 150_000_000, september, TUTORIAL, batch_queue_tokens=15_000_000_000),
        RateLimitSeed(1, "o1-preview", 500, 30_000, november, OPENED, batch_queue_tokens=90_000),
        RateLimitSeed(1, "o1-mini", 500, 200_000, november, OPENED, 10_000, 2_000_000),
        RateLimitSeed(1, "gpt-4o", 500, 30_000, november, OPENED, batch_queue_tokens=90_000),
        RateLimitSeed(1, "gpt-4o-mini", 500, 200_000, november, OPENED, 10_000, 2_000_000),
        *_by_tier("o1", GPT_4O, year_2025, TABLE_2025, LOWEST_QUEUE),
        *_by_tier("gpt-4o", GPT_4O, year_2025, TABLE_2025, GPT_4O_QUEUE),
        *_by_tier("o1-mini", GPT_4O_MINI, year_2025, TABLE_2025, (2_000_000,) * 5),
        *_by_tier("gpt-4o-mini", GPT_4O_MINI, year_2025, TABLE_2025, GPT_4O_MINI_QUEUE),
        *_by_tier("o3-mini", O3_MINI, year_2025, TABLE_2025_O3_MINI, LOWEST_QUEUE),
    ]
    for model, released_on in ASSUMED_FROM.items():
        rows += _by_tier(model, GPT_4O, released_on, ASSUMED, LOWEST_QUEUE)
    return rows


def seed(apps: Apps) -> None:
    """Add the rows that are missing. One of the same tier, model and day stays as it is, as corrected by people."""
    tiers, limits = apps.get_model("accounts", "UsageTier"), apps.get_model("accounts", "RateLimit")
    tiers.objects.bulk_create(
        [
            tiers(
                number=tier.number,
                name=tier.name,
                minimum_paid_usd=Decimal(tier.minimum_paid_usd),
                minimum_days=tier.minimum_days,
                monthly_limit_usd=Decimal(tier.monthly_limit_usd),
                effective_from=effective_from,
                source=source,
            )
            for (effective_from, source), of_that_day in TIERS.items()
            for tier in of_that_day
        ],
        ignore_conflicts=True,
    )
    limits.objects.bulk_create(
        [
            limits(
                tier=row.tier,
                model=row.model,
                requests_per_minute=row.requests_per_minute,
                tokens_per_minute=row.tokens_per_minute,
                requests_per_day=row.requests_per_day,
                batch_queue_tokens=row.batch_queue_tokens,
                effective_from=row.effective_from,
                source=row.source,
            )
            for row in rate_limits()
        ],
        ignore_conflicts=True,
    )
