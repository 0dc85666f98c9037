"""The seeded prices are what the provider published, each from its day on; every model has one, and rate limits."""

from datetime import date
from decimal import Decimal

import pytest
from django.apps import apps

from accounts.dated import in_force
from accounts.tiers import rate_limit
from billing import seeds
from billing.models import Price, ServiceTier
from jobs.models import LanguageModel

pytestmark = pytest.mark.django_db

SEPTEMBER_2024 = date(2024, 9, 30)
NOVEMBER_2026 = date(2026, 11, 22)


def price(model: str, day: date, service_tier: str = "standard") -> tuple[Decimal, Decimal, Decimal]:
    """Input, cached input and output in force on a day."""
    row = in_force(Price.objects.filter(model=model, service_tier=service_tier), day)
    assert row is not None
    return row.input_usd_per_million, row.cached_input_usd_per_million, row.output_usd_per_million


@pytest.mark.parametrize(
    ("model", "given", "output"),
    [
        ("o1-preview", "15", "60"),
        ("o1-mini", "3", "12"),
        ("gpt-4o", "5", "15"),
        ("gpt-4o-mini", "0.15", "0.60"),
        ("gpt-4o-2024-05-13", "5", "15"),
    ],
)
def test_the_prices_of_september_2024_know_no_discount_on_cached_input(model: str, given: str, output: str) -> None:
    assert price(model, SEPTEMBER_2024) == (Decimal(given), Decimal(given), Decimal(output))


@pytest.mark.parametrize(
    ("model", "service_tier", "day", "expected"),
    [
        ("o1-preview", "standard", date(2024, 12, 1), ("15", "7.5", "60")),
        ("o1-mini", "standard", date(2025, 1, 31), ("3", "1.5", "12")),
        ("o1-mini", "standard", date(2025, 2, 1), ("1.1", "0.55", "4.4")),
        ("gpt-4o", "standard", date(2024, 10, 1), ("5", "5", "15")),
        ("gpt-4o", "standard", date(2024, 10, 2), ("2.5", "1.25", "10")),
        ("gpt-4o-2024-05-13", "standard", NOVEMBER_2026, ("5", "5", "15")),
        ("gpt-4o-2024-08-06", "standard", SEPTEMBER_2024, ("2.5", "2.5", "10")),
        ("gpt-4o-mini", "standard", NOVEMBER_2026, ("0.15", "0.075", "0.6")),
        ("o1", "standard", NOVEMBER_2026, ("15", "7.5", "60")),
        ("o1-pro", "standard", NOVEMBER_2026, ("150", "150", "600")),
        ("o3", "standard", date(2025, 5, 1), ("10", "2.5", "40")),
        ("o3", "standard", date(2025, 7, 1), ("2", "0.5", "8")),
        ("o4-mini", "flex", NOVEMBER_2026, ("0.55", "0.138", "2.2")),
        ("gpt-4o", "batch", SEPTEMBER_2024, ("2.5", "2.5", "7.5")),
        ("gpt-4o", "priority", NOVEMBER_2026, ("4.25", "2.125", "17")),
        ("gpt-4.5-preview", "standard", date(2025, 3, 1), ("75", "37.5", "150")),
        ("gpt-5", "batch", NOVEMBER_2026, ("0.625", "0.0625", "5")),
        ("gpt-5.5", "priority", NOVEMBER_2026, ("12.5", "1.25", "75")),
        ("gpt-5.6-sol", "standard", date(2026, 9, 13), ("5", "0.5", "30")),
        ("gpt-5.6-sol", "standard", NOVEMBER_2026, ("4", "0.4", "20")),
        ("gpt-5.6-terra", "standard", date(2026, 7, 29), ("2.5", "0.25", "15")),
        ("gpt-5.6-terra", "standard", date(2026, 7, 30), ("2", "0.2", "12")),
        ("gpt-5.6-luna", "batch", date(2026, 7, 30), ("0.1", "0.01", "0.6")),
        ("gpt-5.6-luna", "priority", date(2026, 7, 30), ("0.4", "0.04", "2.4")),
        ("gpt-6-luna", "batch", NOVEMBER_2026, ("0.05", "0.005", "0.25")),
        ("gpt-6.1-terra", "standard", NOVEMBER_2026, ("1", "0.05", "5")),
    ],
)
def test_the_price_in_force_on_a_day(model: str, service_tier: str, day: date, expected: tuple[str, ...]) -> None:
    assert price(model, day, service_tier) == tuple(map(Decimal, expected))


def test_batch_costs_half_wherever_the_model_has_it() -> None:
    """Input and output; the discount on cached input is a matter of its own."""
    rows = Price.objects.filter(service_tier=ServiceTier.BATCH)
    assert rows.count() > 30
    for row in rows:
        # The o1 models had batches later than they had their first price.
        given, _, output = price(row.model, row.effective_from)
        assert (row.input_usd_per_million * 2, row.output_usd_per_million * 2) == (given, output), row


def test_every_model_of_the_catalogue_has_a_price() -> None:
    models = list(LanguageModel.objects.all())
    assert len(models) >= 30
    unpriced = [m.name for m in models if not Price.objects.filter(model=m.name, service_tier="standard").exists()]
    assert unpriced == []


def test_every_price_is_of_a_model_of_the_catalogue() -> None:
    names = set(LanguageModel.objects.values_list("name", flat=True))
    names |= set(LanguageModel.objects.filter(snapshots__isnull=False).values_list("snapshots__name", flat=True))
    assert set(Price.objects.values_list("model", flat=True)) <= names


def test_every_model_of_the_catalogue_has_rate_limits_from_its_minimum_tier_on() -> None:
    unlimited = [
        (model.name, day)
        for model in LanguageModel.objects.all()
        for day in (SEPTEMBER_2024, NOVEMBER_2026)
        if rate_limit(model.minimum_tier, model.family, day) is None or rate_limit(5, model.family, day) is None
    ]
    assert unlimited == []


def test_every_shut_down_model_names_a_successor_that_still_runs() -> None:
    models = {model.name: model for model in LanguageModel.objects.all()}
    gone = [model for model in models.values() if model.is_shut_down_on(NOVEMBER_2026)]
    assert {"o1-preview", "o1-mini", "o1", "o1-pro", "o3-mini", "o4-mini"} <= {model.name for model in gone}
    for model in gone:
        assert model.successor in models, model
        assert not models[model.successor].is_shut_down_on(NOVEMBER_2026), model


def test_a_later_shutdown_names_a_successor_or_says_that_none_was_read() -> None:
    names = set(LanguageModel.objects.values_list("name", flat=True))
    for model in LanguageModel.objects.filter(shutdown_on__isnull=False):
        assert model.successor in names or "replacement not read yet" in model.source, model


def test_no_price_was_ever_a_float() -> None:
    for row in seeds.prices():
        assert all(type(amount) is Decimal for amount in (row.input, row.cached_input, row.output))
        assert all(
            amount == amount.quantize(Decimal("0.000001")) for amount in (row.input, row.cached_input, row.output)
        )


def test_every_price_names_its_source() -> None:
    assert not Price.objects.filter(source="").exists()


def test_seeding_again_adds_nothing_and_keeps_corrections() -> None:
    Price.objects.filter(model="o3-pro", service_tier="standard").update(output_usd_per_million=Decimal(81))
    before = Price.objects.count()
    seeds.seed(apps)
    assert Price.objects.count() == before
    assert price("o3-pro", NOVEMBER_2026)[2] == 81
