"""A provider that goes wrong in eighteen ways, each for an organization of its own, and two healthy tenants beside.

What the calls and jobs of each end in, whether every cent that was billed is booked or held, and how long the healthy
tenants' jobs take, against the same load without the faults.
"""

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

import pytest

from tests.benchmarks.load import knobs
from tests.benchmarks.load.fleet import Fleet, Setup, Submitting, fleet
from tests.jobs.wire import serving

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]

HEALTHY = ("healthy-1", "healthy-2")
HEALTHY_PER_SECOND = 5.0
DEADLINE_SECONDS = 5.0
# Retries are put off by a quarter of an hour at most.
LAST_RETRY_SECONDS = 1200
# What jobs of each fault end in, once it is mended: those that the breaker held back go on.
GO_ON, DOUBT = {"succeeded"}, {"in_doubt", "succeeded"}
NETWORK = {"refused": GO_ON, "no-such-name": GO_ON, "no-tls": GO_ON, "half-open": DOUBT}
OF_SIMULATOR = {
    "slow_body": DOUBT,
    "hang": DOUBT,
    "cut_before_billing": DOUBT,
    "cut_after_billing": DOUBT,
    "garbage": DOUBT,
    "html_502": DOUBT,
    "empty_object": DOUBT,
    "gzip_bomb": DOUBT,
    "negative_usage": DOUBT,
    "reasoning_above_output": DOUBT,
    "other_model": GO_ON,
    "401": GO_ON,
    "429": GO_ON,
    "500": GO_ON,
    "insufficient_quota": GO_ON,
}
FAULTS = {**NETWORK, **{name.replace("_", "-"): states for name, states in OF_SIMULATOR.items()}}
_STATES = """
    SELECT organization.slug, job.status, count(*), sum(job.attempt_count) FROM jobs_job job
    JOIN accounts_organization organization ON organization.id = job.organization_id GROUP BY 1, 2
"""
# Seconds from the submission of a job to its booked answer.
_TIMES = """
    SELECT extract(epoch FROM job.finished_at - job.queued_at)::float FROM jobs_job job
    JOIN accounts_organization organization ON organization.id = job.organization_id
    WHERE organization.slug = ANY(%s) AND job.finished_at IS NOT NULL AND job.queued_at > %s::timestamptz
"""
_UNSETTLED = """
    SELECT count(*) FROM jobs_job WHERE status = 'running' OR status = 'queued'
"""


def test_a_bad_provider(durable_servers, tell, monkeypatch):
    monkeypatch.setenv("BURSAR_CALL_DEADLINE_SECONDS", str(DEADLINE_SECONDS))
    healthy = int(HEALTHY_PER_SECOND * knobs.QUIET_SECONDS)
    with fleet(durable_servers, Setup(call_seconds=0.2, slots=500)) as ours, bad_places() as places:
        order = {"places": dict.fromkeys((*HEALTHY, *FAULTS), ours.simulator.base_url)}
        ours.keys |= Submitting("tests.benchmarks.load.cast_faults", order, ours.environment).result()
        run_healthy(ours, 10)
        # Nothing fails yet: what follows differs from this by the faults alone.
        good = submit_to_be_faulty(ours)
        without = run_healthy(ours, healthy)
        accept_all(ours, good)
        ours.wait_until(lambda: ours.sql(_UNSETTLED) == [(0,)], "the jobs to end", seconds=300, pause=1.0)
        move(ours, places)
        for kind in OF_SIMULATOR:
            ours.simulator.fault(kind, count=None, match=f"fault {kind.replace('_', '-')} ", bytes_per_second=2.0)
        bad = submit_to_be_faulty(ours)
        beside = run_healthy(ours, healthy)
        accept_all(ours, bad)
        ratio = f"p99 {beside.p99 / without.p99:.2f} x"
        tell(f"healthy tenants beside as many jobs without faults: {without}; beside the faults: {beside} ({ratio})")
        # Whatever was under way has met its deadline.
        under_way = (
            "SELECT count(*) FROM jobs_attempt WHERE status = 'calling' AND calling_at < now() - interval '30 s'"
        )
        ours.wait_until(lambda: ours.sql(under_way) == [(0,)], "calls to end at their deadline", seconds=60)
        during = Counter({slug: int(calls) - knobs.FAULT_CALLS for slug, calls in calls_by_slug(ours).items()})
        mend(ours)
        ours.wait_until(
            lambda: ours.sql(_UNSETTLED) == [(0,)], "the jobs to end", seconds=LAST_RETRY_SECONDS, pause=1.0
        )
        ended = states(ours)
        drift = find_drift(ours)
    for slug, wanted in FAULTS.items():
        tell(f"{slug}: {during[slug]} calls while it lasted, then {ended[slug]}")
        assert set(ended[slug]) <= wanted, (slug, ended[slug])
        assert sum(ended[slug].values()) == 2 * knobs.FAULT_CALLS
    tell(f"{len(FAULTS)} faults x {knobs.FAULT_CALLS} jobs ended in the right state; {drift}")


@dataclass(frozen=True)
class Times:
    median: float
    p99: float

    def __str__(self) -> str:
        return f"median {self.median:.2f} s, p99 {self.p99:.2f} s"


def pace() -> float:
    """Bad jobs come for as long as the good ones do."""
    return knobs.FAULT_CALLS / knobs.QUIET_SECONDS


def submit_to_be_faulty(ours: Fleet) -> list[Submitting]:
    """Jobs of every tenant that meets a fault, while there is one."""
    return [
        ours.begin_submitting(slug, ours.body(prompt=f"The fault {slug} #"), knobs.FAULT_CALLS, per_second=pace())
        for slug in FAULTS
    ]


def accept_all(ours: Fleet, submittings: list[Submitting]) -> None:
    for submitting in submittings:
        assert submitting.result()["accepted"] == knobs.FAULT_CALLS, ours.describe()


def move(ours: Fleet, places: dict[str, str]) -> None:
    """The provider of some tenants is no longer where it was. The address is not secret, and stands as it is."""
    for slug, place in places.items():
        ours.sql(
            "UPDATE accounts_providercredential SET base_url = %s WHERE organization_id = "
            "(SELECT id FROM accounts_organization WHERE slug = %s)",
            *(place, slug),
        )


def run_healthy(ours: Fleet, jobs: int) -> Times:
    """Submits jobs of the healthy tenants at their pace, and waits for them."""
    (since,) = ours.sql("SELECT now()::text")[0]
    each = [ours.begin_submitting(slug, ours.body(), jobs, per_second=HEALTHY_PER_SECOND) for slug in HEALTHY]
    for submitting in each:
        assert submitting.result()["accepted"] == jobs, ours.describe()

    def done() -> list[float]:
        return sorted(seconds for (seconds,) in ours.sql(_TIMES, list(HEALTHY), since))

    ours.wait_until(lambda: len(done()) == jobs * len(HEALTHY), "the healthy tenants' jobs", seconds=300)
    seconds = done()
    return Times(seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)])


def mend(ours: Fleet) -> None:
    """The provider works again, and is where it should be."""
    ours.simulator.clear_faults()
    # The address is not secret, and stands in its column as it is.
    ours.sql("UPDATE accounts_providercredential SET base_url = %s", ours.simulator.base_url)


def calls_by_slug(ours: Fleet) -> dict[str, int]:
    """Calls that were made, by organization."""
    made = """
        SELECT organization.slug, count(*) FROM jobs_attempt attempt JOIN jobs_job job ON job.id = attempt.job_id
        JOIN accounts_organization organization ON organization.id = job.organization_id
        WHERE attempt.calling_at IS NOT NULL GROUP BY 1
    """
    return dict(ours.sql(made))


def states(ours: Fleet) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for slug, status, count, _ in ours.sql(_STATES):
        found.setdefault(slug, {})[status] = count
    return found


def find_drift(ours: Fleet) -> str:
    """Fails unless every billed call is booked at its cost, or held at no less; and nothing else is booked or held."""
    billed = {line["client_request_id"]: Decimal(line["cost_usd"]) for line in ours.simulator.bill(lines=True)["lines"]}
    references = "SELECT reference::text, settled_usd, amount_usd, status FROM billing_reservation"
    booked, held = {}, {}
    for reference, settled_usd, amount_usd, status in ours.sql(references):
        if status == "settled":
            booked[reference] = settled_usd
        elif status == "open":
            held[reference] = amount_usd
    (spent,) = ours.sql("SELECT coalesce(sum(spent_change_usd), 0) FROM billing_ledgerentry")[0]
    wrong = {
        pk: cost for pk, cost in billed.items() if booked.get(pk) != cost and not cost <= held.get(pk, Decimal(-1))
    }
    assert not wrong, f"billed, and neither booked nor held: {wrong}"
    assert booked.keys() <= billed.keys()
    assert spent == sum(booked.values())
    in_doubt = {pk for (pk,) in ours.sql("SELECT id::text FROM jobs_attempt WHERE status = 'in_doubt'")}
    assert held.keys() == in_doubt
    lost = sum(billed[pk] for pk in billed.keys() & held.keys())
    return (
        f"{sum(billed.values())} USD billed = {spent} in the ledger + {lost} of calls in doubt, for which "
        f"{sum(held.values())} are held: drift {sum(billed.values()) - spent - lost}"
    )


@contextmanager
def bad_places() -> Iterator[dict[str, str]]:
    """Addresses that are no provider, by the slug of who is sent there."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=4096) as deaf,
        serving(lambda connection, wire: connection.sendall(b"\x00\xff garbage")) as no_tls,
    ):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            nobody = taken.getsockname()[1]
        yield {
            "refused": f"http://127.0.0.1:{nobody}/v1",
            "no-such-name": "http://no-such-host.invalid/v1",
            "no-tls": no_tls.base_url.replace("http:", "https:"),
            "half-open": f"http://127.0.0.1:{deaf.getsockname()[1]}/v1",
        }
