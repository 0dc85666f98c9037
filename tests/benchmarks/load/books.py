"""Whether every sum is the same: the simulator's bill, the ledger, the usage records, and what the jobs say."""

from collections import Counter
from decimal import Decimal

from tests.benchmarks.load.fleet import OUR_KEY, Fleet


def prove(fleet: Fleet, *, submitted: int | None = None, may_be_cancelled: bool = False) -> str:
    """Fails unless nothing was lost and nothing was booked twice; a line that says what was compared.

    Nothing may be under way. With `submitted`: so many jobs there are, some of them cancelled if they may be.
    """
    bill = [line for line in fleet.simulator.bill(lines=True)["lines"] if line["key_last4"] == OUR_KEY[-4:]]
    calls = Counter(line["client_request_id"] for line in bill)
    twice = [attempt for attempt, count in calls.items() if count > 1]
    assert not twice, f"called twice: {twice[:5]}"

    records = fleet.sql("SELECT count(*), coalesce(sum(total_usd), 0) FROM billing_usagerecord")[0]
    jobs = fleet.sql("SELECT count(*), coalesce(sum(total_usd), 0) FROM jobs_job WHERE total_usd IS NOT NULL")[0]
    entries = "SELECT coalesce(sum(spent_change_usd), 0), coalesce(sum(held_change_usd), 0) FROM billing_ledgerentry"
    ledger, held = fleet.sql(entries)[0]
    billed = (len(bill), sum((Decimal(line["cost_usd"]) for line in bill), Decimal(0)))
    assert billed == records == jobs, (billed, records, jobs, fleet.describe())
    assert (ledger, held) == (billed[1], 0), (ledger, held, billed)
    open_ = fleet.sql("SELECT count(*) FROM billing_reservation WHERE status = 'open'")[0][0]
    assert open_ == 0, f"{open_} reservations are open; {fleet.describe()}"

    paid_twice = fleet.sql(
        "SELECT job_id FROM jobs_attempt WHERE status IN ('answered', 'resolved') GROUP BY 1 HAVING count(*) > 1"
    )
    assert not paid_twice, f"jobs answered twice: {paid_twice[:5]}"
    statuses = dict(fleet.sql("SELECT status, count(*) FROM jobs_job GROUP BY 1"))
    if submitted is not None:
        assert sum(statuses.values()) == submitted, (statuses, submitted)
    wrong = {"failed", "in_doubt", "running", *(() if may_be_cancelled else ("cancelled",))}
    assert not wrong & statuses.keys(), (statuses, fleet.describe())
    restarts = sum(member.restarts for member in fleet.members)
    return f"{billed[0]} calls, {billed[1]} USD in bill, ledger and jobs; {restarts} processes started again"
