"""What is learnt of traffic whose distribution is known, on the real tables: it holds for the calls that come next."""

from decimal import Decimal

import pytest

from jobs.learning.levels import expectation_for
from jobs.models import Calibration
from tests.learning.traffic import CODE, MODEL, QUESTION, SUMMARY, Traffic, bimodal, drifting, lognormal

pytestmark = pytest.mark.django_db

KNOWN = {
    "lognormal": (lognormal, CODE, (None,)),
    "bimodal": (bimodal, QUESTION, (None,)),
    "drifting": (drifting, SUMMARY, (None,)),
    # A third of the caps cuts off every third call.
    "cut off": (lognormal, CODE, (None, 2500, 1600)),
}
LEARNT_OF, JUDGED = 500, 1500


@pytest.mark.parametrize("name", KNOWN)
def test_nine_in_ten_stay_within_the_p90_of_each_class(alice, name):
    draw, prompt, caps = KNOWN[name]
    traffic = Traffic(alice, draw, prompt, seed=20241112, caps=caps)
    traffic.run(LEARNT_OF)
    jobs = traffic.run(JUDGED)
    assert traffic.coverage(jobs, "p90") == pytest.approx(0.90, abs=0.02)
    assert traffic.coverage(jobs, "p50") == pytest.approx(0.50, abs=0.03)
    assert traffic.coverage(jobs, "p99") == pytest.approx(0.99, abs=0.01)


@pytest.mark.parametrize("name", KNOWN)
def test_fewer_answers_are_empty_under_the_recommended_cap_than_its_risk(alice, name):
    draw, prompt, caps = KNOWN[name]
    traffic = Traffic(alice, draw, prompt, seed=7, caps=caps)
    (*_, last) = traffic.run(LEARNT_OF)
    expected = expectation_for(alice.project, MODEL, "", last.prompt_class, traffic.terms)
    assert expected.level == "class"
    traffic.caps = (expected.cap_for(Decimal("0.01")),)
    assert traffic.caps[0] < 65_536  # a guess, and not all that the model can make
    jobs = traffic.run(JUDGED)
    assert sum(job.is_empty for job in jobs) / JUDGED < 0.01
    assert sum(job.finish_reason == "length" for job in jobs) / JUDGED < 0.01


def test_the_stated_empties_come_and_the_stated_dollars_too(alice):
    """Under a cap that is too low, honestly told so."""
    traffic = Traffic(alice, lognormal, CODE, seed=99, caps=(1500, 2500, 8000))
    traffic.run(LEARNT_OF)
    Calibration.objects.all().delete()
    jobs = traffic.run(JUDGED)
    row = Calibration.objects.get()
    assert row.jobs == JUDGED
    assert row.actual_empty == sum(job.is_empty for job in jobs) > 100
    assert float(row.expected_empty) == pytest.approx(row.actual_empty, rel=0.15)
    assert row.actual_usd == sum(job.total_usd for job in jobs)
    assert float(row.expected_usd) == pytest.approx(float(row.actual_usd), rel=0.05)
    # A cap of 1,500 shows nothing of a p90 beyond it, so those jobs are no judges of it.
    assert 0 < row.p90_judged < JUDGED
    assert row.p90_within / row.p90_judged == pytest.approx(0.90, abs=0.02)
