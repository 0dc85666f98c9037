"""The usage and costs APIs report the bill as the provider does, late and with the differences that a test seeds."""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import openai
import pytest
from openai import OpenAI

from config.simulator.running import RunningSimulator
from tests.simulator.clients import ask, connect

DAY = 86_400


@pytest.fixture
def account(simulator: RunningSimulator) -> Iterator[str]:
    """An organization that nobody else bills, and a simulator that tells the truth."""
    yield f"org-{uuid4()}"
    simulator.clear_differences()
    simulator.set_usage_delay(0)


@pytest.fixture
def admin(simulator: RunningSimulator, account: str) -> Iterator[OpenAI]:
    with connect(simulator, api_key=None, admin_api_key="sk-admin-tests", organization=account) as client:
        yield client


def today() -> int:
    return int(time.time()) // DAY * DAY


def usage(admin: OpenAI, **options: Any) -> list[Any]:
    """All results since the day before: midnight may have just been."""
    options = {"start_time": today() - DAY, "end_time": today() + 2 * DAY, **options}
    return [
        result for bucket in admin.admin.organization.usage.completions(**options).data for result in bucket.results
    ]


def costs(admin: OpenAI, **options: Any) -> list[Any]:
    options = {"start_time": today() - DAY, "end_time": today() + 2 * DAY, **options}
    return [result for bucket in admin.admin.organization.usage.costs(**options).data for result in bucket.results]


def total(results: list[Any]) -> Decimal:
    # The official client makes floats of the amounts; the digits that those print are the ones that were sent.
    return sum((Decimal(str(result.amount.value)) for result in results), Decimal(0))


def test_usage_is_the_bill_by_project_and_model(simulator, account, admin):
    for project, model in (("proj_a", "o1-mini"), ("proj_a", "o1-mini"), ("proj_b", "o1")):
        with connect(simulator, organization=account, project=project) as client:
            ask(client, model)
    lines = [line for line in simulator.bill(lines=True)["lines"] if line["organization"] == account]

    found = {(one.project_id, one.model): one for one in usage(admin, group_by=["project_id", "model"])}

    assert found.keys() == {("proj_a", "o1-mini-2024-09-12"), ("proj_b", "o1-2024-12-17")}
    mini = found["proj_a", "o1-mini-2024-09-12"]
    mine = [line for line in lines if line["project"] == "proj_a"]
    assert (mini.num_model_requests, mini.input_tokens) == (2, sum(line["prompt_tokens"] for line in mine))
    assert (mini.output_tokens, mini.input_cached_tokens) == (sum(line["completion_tokens"] for line in mine), 0)
    assert (mini.service_tier, mini.api_key_id) == (None, None)
    assert total(costs(admin)) == sum(Decimal(line["cost_usd"]) for line in lines)
    items = {(one.project_id, one.line_item): one for one in costs(admin, group_by=["project_id", "line_item"])}
    assert items["proj_b", "o1-2024-12-17, output"].quantity == found["proj_b", "o1-2024-12-17"].output_tokens
    assert total(list(items.values())) == total(costs(admin))


def test_pages_follow_one_another_and_buckets_may_be_hours(admin, simulator, account):
    with connect(simulator, organization=account) as client:
        ask(client)
    found, page = [], None
    for _ in range(4):
        options = {} if page is None else {"page": page}
        answer = admin.admin.organization.usage.completions(
            start_time=today() - DAY, end_time=today() + 2 * DAY, limit=1, **options
        )
        found += answer.data
        page = answer.next_page
        if not answer.has_more:
            break
    assert [bucket.start_time for bucket in found] == [today() - DAY, today(), today() + DAY]
    assert sum(len(bucket.results) for bucket in found) == 1
    hours = admin.admin.organization.usage.completions(start_time=today(), end_time=today() + DAY, bucket_width="1h")
    assert len(hours.data) == 24


def test_other_keys_and_other_organizations_see_nothing(simulator, account, admin):
    with connect(simulator, organization=account) as client:
        ask(client)
        with pytest.raises(openai.PermissionDeniedError):
            client.get("/organization/costs?start_time=0", cast_to=object)
    with connect(simulator, api_key="sk-admin-tests") as wrong, pytest.raises(openai.PermissionDeniedError):
        ask(wrong)
    with connect(simulator, api_key=None, admin_api_key="sk-admin-tests", organization="org-else") as stranger:
        assert usage(stranger) == []


@pytest.mark.parametrize("options", [{"bucket_width": "2d"}, {"limit": 32}, {"group_by": ["colour"]}, {"page": "?"}])
def test_a_query_that_cannot_be_answered_is_refused(admin, options):
    with pytest.raises(openai.BadRequestError):
        usage(admin, **options)


def test_a_call_shows_after_its_delay(simulator, account, admin):
    simulator.set_usage_delay(3600)
    with connect(simulator, organization=account) as client:
        ask(client)
    assert (usage(admin), costs(admin)) == ([], [])
    simulator.set_usage_delay(0)
    assert len(usage(admin)) == 1


def test_seeded_differences_show_in_the_reports_and_not_in_the_bill(simulator, account, admin):
    with connect(simulator, organization=account) as client:
        for number in range(4):
            ask(client, prompt=f"question {number}")
    lines = [line for line in simulator.bill(lines=True)["lines"] if line["organization"] == account]
    dropped, delayed, dearer, plain = lines
    simulator.differ("drop", id=dropped["id"])
    simulator.differ("delay", id=delayed["id"])
    simulator.differ("misprice", id=dearer["id"], factor="1.5")
    simulator.differ("extra", model="o1-mini", organization=account, prompt_tokens=100, completion_tokens=1000)

    (found,) = usage(admin)

    assert found.num_model_requests == 3
    assert found.input_tokens == dearer["prompt_tokens"] + plain["prompt_tokens"] + 100
    # o1-mini costs 3 and 12 USD a million tokens.
    wanted = Decimal(dearer["cost_usd"]) * Decimal("1.5") + Decimal(plain["cost_usd"]) + Decimal("0.0123")
    assert total(costs(admin)) == wanted
    assert lines == [line for line in simulator.bill(lines=True)["lines"] if line["organization"] == account]
    simulator.clear_differences()
    assert usage(admin)[0].num_model_requests == 4


@pytest.mark.parametrize(
    "wanted", [{"kind": "lose"}, {"kind": "drop"}, {"kind": "extra"}, {"kind": "misprice", "id": "x"}]
)
def test_what_is_no_difference_is_refused(simulator, wanted):
    with pytest.raises(OSError, match="400"):
        simulator.differ(**wanted)
