"""What is written to the provider's cache costs more than input from gpt-5.6 on: held, booked and proven as billed."""

from decimal import Decimal

import pytest

from billing.models import Budget, SpendRollup, UsageRecord
from billing.verification import verify
from jobs.front_door.answers import _as_chat
from jobs.recovery import decisions
from tests.flows.test_doubts import age, have_policy, held, look, lose

D = Decimal
MODEL = "gpt-6.1-terra"
LONG = "Count these words: " + "sky " * 1500


@pytest.fixture
def today(alice):
    """An organization by the terms of today, when there are such models."""
    alice.organization.terms_on = None
    alice.organization.save()


@pytest.mark.usefixtures("today")
@pytest.mark.parametrize("background", ["on", "off"])
def test_what_is_written_to_the_cache_is_booked_as_it_is_billed(path, alice, settings, background):
    settings.BACKGROUND = background
    jobs = [path.submit(MODEL, f"{number} {LONG}", max_completion_tokens=2000) for number in range(3)]
    path.run()
    for job in jobs:
        job.refresh_from_db()
        assert job.status in ("succeeded", "incomplete")
        (line,) = path.bill(job)
        record = UsageRecord.objects.get(reservation__reference=job.attempts.get().pk)
        assert job.total_usd == record.total_usd == D(line["cost_usd"]) <= job.bound_usd
        assert record.cache_write_tokens + record.cached_input_tokens == record.input_tokens - 3
        assert record.cache_write_usd_per_million == record.input_usd_per_million * D("1.25")
    written = sum(record.cache_write_tokens for record in UsageRecord.objects.all())
    assert written > 1000
    assert sum(row.cache_write_tokens for row in SpendRollup.objects.all()) == written
    assert verify(alice.organization) == []
    assert not Budget.objects.exclude(held=0).exists()


@pytest.mark.usefixtures("today")
def test_what_is_presumed_spent_is_presumed_written(path, settings):
    """A call whose answer was lost is booked at its bound, which takes all of its input at the dearest price."""
    settings.BACKGROUND = "off"
    have_policy(path, "presume_spent")
    (job,) = lose(path, fault="cut_before_billing", model=MODEL, prompt=LONG, max_completion_tokens=2000)
    bound = held()
    look()
    age(25)
    assert decisions.decide_by_policy() == 1
    record = UsageRecord.objects.get()
    job.refresh_from_db()
    assert job.total_usd == record.total_usd == bound == job.bound_usd
    assert record.cache_write_tokens == record.input_tokens


def test_usage_of_responses_says_so_in_the_words_of_chat_completions():
    usage = {"input_tokens": 18_014, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 18_011}}
    assert _as_chat({**usage, "output_tokens": 5})["prompt_tokens_details"]["cache_write_tokens"] == 18_011
    without = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5}
    assert "cache_write_tokens" not in _as_chat(without)["prompt_tokens_details"]
