"""What was learnt is what estimates, advice and jobs say."""

from decimal import Decimal

import pytest

from jobs.models import Job
from tests.learning.traffic import CODE, MODEL, Traffic, lognormal

pytestmark = pytest.mark.django_db
ASKED = {"model": MODEL, "prompt": f"{CODE} Think step by step.", "max_completion_tokens": 900}


@pytest.fixture
def learnt(alice) -> None:
    Traffic(alice, lognormal, CODE, seed=3).run(200)


@pytest.mark.usefixtures("learnt")
def test_an_estimate_expects_what_calls_like_it_came_to(client):
    answer = client.post("/api/v1/jobs/estimate", ASKED, format="json").json()
    expected = answer["expected"]
    assert (expected["calls"], expected["level"]) == (200, "class")
    within = [expected[share]["output_tokens"] for share in ("p50", "p90", "p99")]
    assert within == sorted(within)
    assert within[-1] <= 900
    assert Decimal(expected["empty_probability"]) > Decimal("0.3")
    assert answer["recommended_max_completion_tokens"] > 3000


@pytest.mark.usefixtures("learnt")
def test_advice_says_what_is_at_stake(client):
    advice = {one["rule"]: one for one in client.post("/api/v1/jobs", ASKED, format="json").json()["advice"]}
    assert Decimal(advice["chain_of_thought"]["saving_usd"]) > 0
    assert Decimal(advice["small_cap"]["saving_usd"]) > 0


@pytest.mark.usefixtures("learnt")
def test_a_job_keeps_what_was_expected_of_it(client):
    made = client.post("/api/v1/jobs", ASKED, format="json").json()
    job = Job.objects.get(pk=made["id"])
    assert made["expected"]["p90_output_tokens"] == job.expected_p90_tokens
    assert Decimal(made["expected"]["cost_usd"]) == job.expected_usd
    assert client.get(f"/api/v1/jobs/{made['id']}").json()["expected"] == made["expected"]


def test_nothing_is_expected_of_the_first(client):
    assert client.post("/api/v1/jobs", ASKED, format="json").json()["expected"] is None
