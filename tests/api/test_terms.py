"""Models, limits and spend: what a project may use, up to where, and what it has used."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import transaction

from accounts.models import RateLimit, TierOverride
from billing import ledger
from billing.models import Price, Quota
from billing.pricing import Tokens
from jobs.models import LanguageModel
from tests.conftest import make_claim

D = Decimal


def call(project, model="o1-preview", *, output, reasoning, empty=False, key=None):
    """A settled call with the golden prompt of 43 tokens."""
    claim = make_claim(project, "1.5", model=model, api_key_id=key and key.pk)
    with transaction.atomic():
        assert ledger.reserve([claim]) == []
        ledger.settle(claim.reference, Tokens(43, 0, output, reasoning), snapshot=f"{model}-2024-09-12", is_empty=empty)


# --- Models -----------------------------------------------------------------------------------------------------------
def models(client):
    response = client.get("/api/v1/models")
    assert response.status_code == 200
    page = response.json()
    assert (page["has_more"], page["next"]) == (False, None)
    return {model["name"]: model for model in page["data"]}


def test_the_catalogue_comes_with_the_terms_of_the_organization(client):
    found = models(client)
    assert list(found) == sorted(LanguageModel.objects.values_list("name", flat=True))
    o1 = found["o1-preview"]
    assert o1.keys() == {
        "name", "object", "snapshots", "is_reasoning", "context_window", "max_output_tokens", "endpoints",
        "reasoning_efforts", "minimum_tier", "released_on", "shutdown_on", "successor", "availability", "prices",
        "rate_limits",
    }  # fmt: skip
    assert o1["availability"] == {"usable": True, "code": None, "reason": None}
    assert o1["prices"]["standard"] == {
        "input_usd_per_million": "15.00",
        "cached_input_usd_per_million": "15.00",
        "output_usd_per_million": "60.00",
        "cache_write_usd_per_million": None,
        "effective_from": "2024-09-12",
    }
    assert (o1["rate_limits"]["requests_per_minute"], o1["rate_limits"]["tokens_per_minute"]) == (500, 30_000_000)
    assert (o1["context_window"], o1["max_output_tokens"], o1["minimum_tier"]) == (128_000, 32_768, 5)
    assert o1["snapshots"][0].keys() == {"name", "is_current", "max_output_tokens", "shutdown_on"}


def test_a_model_that_the_tier_does_not_reach_says_what_is_missing(client, organization, owner):
    TierOverride.objects.create(organization=organization, tier=1, reason="to see", actor=owner)
    availability = models(client)["o1-preview"]["availability"]
    assert (availability["usable"], availability["code"]) == (False, "tier_too_low")
    assert "Tier 5" in availability["reason"]


def test_a_model_that_was_shut_down_names_its_successor(client, organization):
    organization.terms_on = None
    organization.save()
    availability = models(client)["o1-preview"]["availability"]
    assert (availability["usable"], availability["code"]) == (False, "model_not_found")
    assert "shut down" in availability["reason"]


def test_a_model_without_a_price_or_a_rate_limit_is_not_usable(client):
    Price.objects.filter(model="o1-preview").delete()
    RateLimit.objects.filter(model="o1-mini").delete()
    found = models(client)
    assert found["o1-preview"]["availability"]["code"] == "price_unknown"
    assert found["o1-preview"]["prices"] == {}
    assert found["o1-mini"]["availability"]["code"] == "rate_limit_unknown"
    assert found["o1-mini"]["rate_limits"] is None


def test_what_is_listed_as_usable_is_what_a_submission_is_taken_for(client):
    for name, model in models(client).items():
        response = client.post(
            "/api/v1/jobs", {"model": name, "prompt": "Hi", "max_completion_tokens": 100}, format="json"
        )
        assert (response.status_code == 202) == model["availability"]["usable"], (name, response.json())
        if response.status_code != 202:
            assert response.json()["code"] == model["availability"]["code"]


def test_the_catalogue_takes_the_same_number_of_queries_whatever_its_size(client, django_assert_max_num_queries):
    with django_assert_max_num_queries(12):
        models(client)


# --- Limits -----------------------------------------------------------------------------------------------------------
def test_limits_show_tier_budgets_and_rate_limits(client, organization, project):
    Quota.objects.create(organization=project.organization, project=project, limit=D("5.5"))
    call(project, output=1279, reasoning=1024)
    with transaction.atomic():
        ledger.reserve([make_claim(project, "1.5")])
    answer = client.get("/api/v1/limits").json()
    assert answer.keys() == {"organization", "project", "tier", "budgets", "rate_limits"}
    assert answer["organization"] == {"id": str(organization.pk), "name": "Alice"}
    assert answer["project"] == {"id": str(project.pk), "name": "Alice research"}
    # The clock of the database stands still in a test's transaction, a moment before the payment was 40 days old.
    assert answer["tier"].pop("days_since_first_payment") in {39, 40}
    assert answer["tier"] == {
        "number": 5,
        "name": "Tier 5",
        "is_override": False,
        "monthly_limit_usd": "50000.00",
        "paid_usd": "1000.00",
    }
    of_organization, of_tier, of_project = answer["budgets"]
    assert (of_tier["scope"], of_tier["origin"], of_tier["limit"]) == ("project", "usage tier 5", "50000.00")
    assert of_organization["scope"] == "organization"
    assert of_project.keys() == {
        "scope", "id", "name", "origin", "measure", "model", "is_hard", "limit", "spent", "held", "remaining",
        "window_start", "resets_at", "forecast",
    }  # fmt: skip
    assert of_project["limit"] == "5.50"
    assert (of_project["spent"], of_project["held"]) == ("0.077385", "1.50")
    assert of_project["remaining"] == "3.922615"
    limits = {row["model"]: row for row in answer["rate_limits"]}
    assert limits["o1-mini"] == {
        "model": "o1-mini",
        "family": "o1-mini",
        "requests_per_minute": 1000,
        "tokens_per_minute": 150_000_000,
        "requests_per_day": None,
        "tokens_per_day": None,
        "batch_queue_tokens": None,
    }


def test_an_organization_that_never_paid_stands_at_the_free_tier(client, organization):
    organization.payments.all().delete()
    tier = client.get("/api/v1/limits").json()["tier"]
    assert (tier["number"], tier["paid_usd"], tier["days_since_first_payment"]) == (0, "0.00", None)
    assert tier["monthly_limit_usd"] == "100.00"


# --- Spend ------------------------------------------------------------------------------------------------------------
FIGURES = {
    "calls", "empty_calls", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens",
    "cache_write_tokens", "reasoning_share", "cost", "empty_usd",
}  # fmt: skip


def test_no_spend_is_zeros_of_this_month(client):
    answer = client.get("/api/v1/spend").json()
    assert answer.keys() == {"from", "to", "group_by", "total", "data"}
    today = datetime.now(UTC).date()
    assert answer["from"] == today.replace(day=1).isoformat()
    assert answer["to"] > today.isoformat()
    assert answer["to"].endswith("-01")
    assert (answer["group_by"], answer["data"]) == ([], [])
    assert answer["total"].keys() == FIGURES
    assert answer["total"]["cost"] == dict.fromkeys(
        ("input_usd", "cached_input_usd", "output_usd", "reasoning_usd", "total_usd"), "0.00"
    )
    assert (answer["total"]["calls"], answer["total"]["reasoning_share"]) == (0, None)


def test_the_golden_calls_come_out_to_the_last_digit(client, project, other_project, api_key):
    key = api_key.api_key
    call(project, output=1279, reasoning=1024, key=key)
    call(project, output=300, reasoning=300, empty=True, key=key)
    call(project, "o1-mini", output=1511, reasoning=256)
    call(other_project, output=5000, reasoning=5000)
    answer = client.get("/api/v1/spend?group_by=model").json()
    assert answer["group_by"] == ["model"]
    assert [line["model"] for line in answer["data"]] == ["o1-preview", "o1-mini"]  # the dearest first
    preview = answer["data"][0]
    assert preview.keys() == FIGURES | {"model"}
    assert preview["cost"] == {
        "input_usd": "0.00129",
        "cached_input_usd": "0.00",
        "output_usd": "0.0153",
        "reasoning_usd": "0.07944",
        "total_usd": "0.09603",
    }
    assert (preview["calls"], preview["empty_calls"], preview["empty_usd"]) == (2, 1, "0.018645")
    assert (preview["output_tokens"], preview["reasoning_tokens"], preview["reasoning_share"]) == (1579, 1324, "0.8385")
    assert answer["total"]["cost"]["total_usd"] == "0.114291"
    assert D(answer["total"]["cost"]["total_usd"]) == sum(D(line["cost"]["total_usd"]) for line in answer["data"])

    by_owner = client.get("/api/v1/spend?group_by=day,project,team&group_by=member,key").json()
    assert by_owner["group_by"] == ["day", "project", "team", "member", "key"]
    first = by_owner["data"][0]
    assert first["day"] == datetime.now(UTC).date().isoformat()
    assert first["project"] == {"id": str(project.pk), "name": "Alice research"}
    assert first["key"] == {"id": str(key.pk), "name": "tests"}
    assert (first["team"], first["member"]) == (None, None)
    assert by_owner["data"][1]["key"] is None


def test_spend_of_other_days_is_left_out(client, project):
    call(project, output=10, reasoning=0)
    today = datetime.now(UTC).date()
    assert client.get("/api/v1/spend?from=2024-09-01&to=2024-10-01").json()["total"]["calls"] == 0
    assert client.get(f"/api/v1/spend?from={today}").json()["total"]["calls"] == 1
    assert client.get(f"/api/v1/spend?from=2024-01-01&to={today}").json()["total"]["calls"] == 0  # exclusive


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("from=yesterday", "from"),
        ("from=2024-13-01", "from"),
        ("from=2024-09-01T00:00:00Z", "from"),
        ("from=2024-09-02&to=2024-09-02", "to"),
        ("to=2001-01-01", "to"),
        ("group_by=user", "group_by"),
        ("group_by=organization", "group_by"),
        ("project=1", "project"),
    ],
)
def test_a_query_that_is_wrong_is_refused(client, query, parameter):
    response = client.get(f"/api/v1/spend?{query}")
    assert response.status_code == 400
    assert [error["parameter"] for error in response.json()["errors"]] == [parameter]
