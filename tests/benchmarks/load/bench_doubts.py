"""Answers lost after they were billed: all are found at the provider and settled to the truth; none is sent twice.

The provider bills every call, and cuts the connection of every fourth instead of answering: of a provider that did so
with all of them, a breaker would keep the others waiting.
"""

from decimal import Decimal

import pytest

from tests.benchmarks.load import books, knobs
from tests.benchmarks.load.fleet import Fleet, Setup, fleet
from tests.benchmarks.load.watching import watching

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

P95_SECONDS = 120
RESOLVED = """
    SELECT count(*), extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY resolved_at - opened_at)),
        extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY resolved_at - opened_at)),
        extract(epoch FROM max(resolved_at - opened_at)), avg(looks)
    FROM jobs_doubt WHERE status = 'found'
"""
IN_THE_BOOKS = "SELECT coalesce(sum(spent_change_usd + held_change_usd), 0) FROM billing_ledgerentry"


def test_answers_lost_after_billing_are_all_found(durable_servers, tell):
    lost = knobs.DOUBTS
    jobs = 5 * lost  # enough for so many to be lost
    with fleet(durable_servers, Setup("o1-mini", call_seconds=0.5, slots=min(lost, 500))) as ours:
        ours.simulator.fault("cut_after_billing", count=lost, probability=0.25)
        watch = Watch(ours)
        with watching(watch.look, every_seconds=1.0):
            ours.submit("load-0", ours.body(), jobs)
            settled = "SELECT count(*) FROM jobs_job WHERE finished_at IS NOT NULL"
            ours.wait_until(lambda: ours.sql(settled) == [(jobs,)], f"{jobs} jobs", seconds=300 + jobs)
        ours.drain()
        proof = books.prove(ours, submitted=jobs)
        ((found, median, p95, longest, looks),) = ours.sql(RESOLVED)
        released = ours.sql("SELECT count(*) FROM billing_reservation WHERE status = 'released'")[0][0]
    tell(
        f"{found} of {lost} answers lost after billing were found: from doubt to truth {median:.1f} s in the median, "
        f"{p95:.1f} s at p95, {longest:.1f} s at most; {looks:.2f} looks each, {released} released"
    )
    tell(f"  {watch.samples} samples, the books below the bill in {watch.below}; {proof}")
    assert found == lost
    assert released == 0
    assert watch.below == 0
    assert p95 <= P95_SECONDS


class Watch:
    """Whether what is spent and held is at least the bill, as often as it is looked at."""

    def __init__(self, ours: Fleet) -> None:
        self.samples = self.below = 0
        self._ours = ours

    def look(self) -> None:
        bill = Decimal(self._ours.simulator.bill()["cost_usd"])  # first: the books only grow meanwhile
        self.samples += 1
        self.below += self._ours.sql(IN_THE_BOOKS)[0][0] < bill
