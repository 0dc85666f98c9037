"""A name finds its model: by alias, by snapshot, and with what a snapshot has of its own."""

from datetime import date

import pytest
from pytest_django import DjangoAssertNumQueries

from jobs import catalogue

pytestmark = pytest.mark.django_db


def found(name: str) -> catalogue.CatalogueEntry:
    entry = catalogue.find(name)
    assert entry is not None
    return entry


def test_an_alias_is_found_without_a_snapshot() -> None:
    entry = found("o1-mini")
    assert (entry.model.name, entry.snapshot, entry.name) == ("o1-mini", None, "o1-mini")
    assert entry.max_output_tokens == 65_536
    assert entry.shutdown_on == date(2025, 10, 27)


def test_a_snapshot_is_found_with_its_model() -> None:
    entry = found("o1-mini-2024-09-12")
    assert entry.snapshot is not None
    assert (entry.model.name, entry.snapshot.name, entry.name) == (
        "o1-mini",
        "o1-mini-2024-09-12",
        "o1-mini-2024-09-12",
    )
    assert entry.max_output_tokens == 65_536
    assert entry.shutdown_on == date(2025, 10, 27)


def test_a_snapshot_may_have_a_maximum_and_a_last_day_of_its_own() -> None:
    entry, alias = found("gpt-4o-2024-05-13"), found("gpt-4o")
    assert (entry.max_output_tokens, alias.max_output_tokens) == (4_096, 16_384)
    assert (entry.shutdown_on, alias.shutdown_on) == (date(2026, 10, 23), date(2027, 1, 14))


@pytest.mark.parametrize(
    "name", ["", "o1-", "o1-mini ", "O1-MINI", "gpt-7", "o1-mini-2099-01-01", "o1-mini\0", "\ud83d"]
)
def test_any_other_name_finds_nothing(name: str) -> None:
    assert catalogue.find(name) is None


@pytest.mark.parametrize("name", ["o1-mini", "gpt-4o-2024-05-13", "gpt-7"])
def test_one_query_is_enough(name: str, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        entry = catalogue.find(name)
        if entry is not None:
            assert entry.name == name
            assert entry.max_output_tokens > 0
            assert entry.shutdown_on is not None


@pytest.mark.parametrize(
    ("day", "is_shut_down"), [(date(2025, 10, 26), False), (date(2025, 10, 27), True), (date(2026, 11, 22), True)]
)
def test_a_model_is_shut_down_from_its_last_day_on(day: date, is_shut_down: bool) -> None:
    assert found("o1-mini").is_shut_down_on(day) is is_shut_down


@pytest.mark.parametrize("name", ["gpt-5.4", "gpt-5.5", "gpt-5.6-luna", "gpt-6-sol", "gpt-6.1-terra", "gpt-6.2-astra"])
def test_a_prompt_that_would_cost_double_does_not_fit(name: str) -> None:
    """OpenAI prices a prompt above 272,000 tokens apart, which a price row cannot say."""
    assert found(name).model.context_window == 272_000


def test_a_model_without_a_last_day_is_never_shut_down() -> None:
    assert not found("gpt-6-sol").is_shut_down_on(date(2099, 1, 1))


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("gpt-4o", ("gpt-4o",)),
        ("gpt-4o-2024-05-13", ("gpt-4o-2024-05-13", "gpt-4o")),
        ("o1-mini-2024-09-12", ("o1-mini-2024-09-12", "o1-mini")),
    ],
)
def test_a_price_is_looked_up_by_snapshot_first(name: str, names: tuple[str, ...]) -> None:
    assert catalogue.provider_price_names(found(name)) == names
