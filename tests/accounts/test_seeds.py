"""The seeded tiers and rate limits are what the provider published, each from its day on."""

from datetime import date
from decimal import Decimal

import pytest
from django.apps import apps

from accounts import seeds
from accounts.models import RateLimit, UsageTier
from accounts.tiers import rate_limit, tiers_on

pytestmark = pytest.mark.django_db

SEPTEMBER_2024 = date(2024, 9, 30)


@pytest.mark.parametrize(
    ("number", "name", "paid", "days", "limit"),
    [
        (0, "Free", 0, 0, 100),
        (1, "Tier 1", 5, 0, 100),
        (2, "Tier 2", 50, 7, 500),
        (3, "Tier 3", 100, 7, 1_000),
        (4, "Tier 4", 250, 14, 5_000),
        (5, "Tier 5", 1_000, 30, 50_000),
    ],
)
def test_the_tiers_of_2024(number: int, name: str, paid: int, days: int, limit: int) -> None:
    tier = tiers_on(SEPTEMBER_2024)[number]
    assert (tier.name, tier.minimum_days) == (name, days)
    assert (tier.minimum_paid_usd, tier.monthly_limit_usd) == (Decimal(paid), Decimal(limit))


def test_the_tiers_of_2026_ask_for_no_days_and_give_tier_5_more() -> None:
    tiers = tiers_on(date(2026, 11, 22))
    assert sorted(tiers) == [0, 1, 2, 3, 4, 5]
    assert {tier.minimum_days for tier in tiers.values()} == {0}
    assert [tiers[n].minimum_paid_usd for n in range(6)] == [0, 5, 50, 100, 250, 1_000]
    assert [tiers[n].monthly_limit_usd for n in range(6)] == [100, 100, 500, 1_000, 5_000, 200_000]


@pytest.mark.parametrize(
    ("model", "requests", "tokens", "queue"),
    [
        ("gpt-4o", 10_000, 30_000_000, 5_000_000_000),
        ("gpt-4o-mini", 30_000, 150_000_000, 15_000_000_000),
        ("o1-preview", 500, 30_000_000, None),
        ("o1-mini", 1_000, 150_000_000, None),
    ],
)
def test_the_tier_5_limits_of_september_2024(model: str, requests: int, tokens: int, queue: int | None) -> None:
    limit = rate_limit(5, model, SEPTEMBER_2024)
    assert limit is not None
    assert (limit.requests_per_minute, limit.tokens_per_minute, limit.batch_queue_tokens) == (requests, tokens, queue)


@pytest.mark.parametrize(
    ("tier", "model", "day", "requests", "tokens", "per_day"),
    [
        (5, "o1-preview", date(2024, 9, 12), 20, None, None),
        (5, "o1-mini", date(2024, 9, 19), 20, None, None),
        (5, "o1-mini", date(2024, 9, 20), 1_000, 150_000_000, None),
        (1, "o1-preview", date(2024, 12, 1), 500, 30_000, None),
        (1, "o1-mini", date(2024, 12, 1), 500, 200_000, 10_000),
        (5, "o1-mini", date(2025, 3, 1), 30_000, 150_000_000, None),
        (2, "o1", date(2025, 3, 1), 5_000, 450_000, None),
        (4, "gpt-4o-mini", date(2025, 3, 1), 10_000, 10_000_000, None),
        (5, "o3-mini", date(2025, 3, 1), 10_000, 150_000_000, None),
        (3, "gpt-6-sol", date(2026, 11, 22), 5_000, 800_000, None),
    ],
)
def test_the_limit_in_force_on_a_day(
    tier: int, model: str, day: date, requests: int, tokens: int | None, per_day: int | None
) -> None:
    limit = rate_limit(tier, model, day)
    assert limit is not None
    assert (limit.requests_per_minute, limit.tokens_per_minute, limit.requests_per_day) == (requests, tokens, per_day)


def test_an_assumption_is_marked_as_one() -> None:
    assumed = RateLimit.objects.filter(model__in=seeds.ASSUMED_FROM)
    assert assumed.count() == 5 * len(seeds.ASSUMED_FROM)
    assert {row.source for row in assumed} == {seeds.ASSUMED}
    assert "assumption" in seeds.ASSUMED


def test_every_row_names_its_source() -> None:
    assert not UsageTier.objects.filter(source="").exists()
    assert not RateLimit.objects.filter(source="").exists()


def test_seeding_again_adds_nothing_and_keeps_corrections() -> None:
    UsageTier.objects.filter(number=5, effective_from=date(2026, 7, 1)).update(monthly_limit_usd=Decimal(1))
    RateLimit.objects.filter(model="o3", tier=5).update(requests_per_minute=7)
    before = UsageTier.objects.count(), RateLimit.objects.count()
    seeds.seed(apps)
    assert (UsageTier.objects.count(), RateLimit.objects.count()) == before
    assert tiers_on(date(2026, 11, 22))[5].monthly_limit_usd == 1
    assert RateLimit.objects.get(model="o3", tier=5).requests_per_minute == 7
