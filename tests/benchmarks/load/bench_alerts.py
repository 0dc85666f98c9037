"""Alerts with everything running: how long from a crossing to its webhook, and whether killed senders lose any."""

import time
from collections import Counter
from datetime import UTC, datetime
from statistics import quantiles

import pytest

from config.embedded import processes
from tests.benchmarks.load import knobs
from tests.benchmarks.load.fleet import Fleet, Setup, Submitting, fleet
from tests.billing.receiver import Receiver, receiving

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

INSIDE = {"BURSAR_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32"}
CROSSED = """
    SELECT 'msg_' || replace(delivery.id::text, '-', ''), crossed_at
    FROM billing_webhookdelivery delivery JOIN billing_alert alert ON alert.id = alert_id
    JOIN billing_budget budget ON budget.quota_id = split_part(reference, ' ', 1)::uuid
    JOIN billing_crossing crossing ON crossing.budget_id = budget.id AND crossing.kind = alert.kind
        AND percent = (alert.data->>'percent')::int
    WHERE alert.kind = 'threshold' AND alert.data->'limit'->>'origin' = 'quota'
"""


def arrange(ours: Fleet, receiver: Receiver, **order: int) -> None:
    wanted = {"url": receiver.url, "limits": 0, "jobs": 0, "events": 0, **order}
    Submitting("tests.benchmarks.load.cast_alerts", wanted, ours.environment).result()


def test_from_crossing_to_delivery(durable_servers, tell):
    with receiving() as receiver, fleet(durable_servers, Setup(slots=200, environment=INSIDE)) as ours:
        arrange(ours, receiver, limits=knobs.ALERTS, jobs=knobs.JOBS)
        ours.submit("load-0", ours.body(), knobs.JOBS)
        ours.wait_until_done(knobs.JOBS, seconds=60 + knobs.JOBS)
        waiting = (
            "SELECT (SELECT count(*) FROM billing_crossing WHERE told_at IS NULL) "
            "+ (SELECT count(*) FROM billing_webhookdelivery WHERE status = 'pending')"
        )
        ours.wait_until(lambda: ours.sql(waiting) == [(0,)], "what was crossed to be told", seconds=60)
        crossed = dict(ours.sql(CROSSED))
    arrived: dict[str, datetime] = {}
    for each in receiver.got:
        arrived.setdefault(each.id, datetime.fromtimestamp(each.at, UTC))
    took = [(arrived[message] - at).total_seconds() for message, at in crossed.items()]
    percentiles = quantiles(took, n=100, method="inclusive")
    tell(
        f"from crossing to delivery, {len(took)} alerts while {knobs.JOBS} jobs ran: "
        f"median {percentiles[49]:.2f} s, p99 {percentiles[98]:.2f} s, longest {max(took):.2f} s"
    )
    assert percentiles[98] <= 5


def test_killed_senders_lose_none(durable_servers, tell):
    """The receiver refuses, hangs and works by turns, while the control worker is killed again and again."""
    with receiving() as receiver, fleet(durable_servers, Setup(environment=INSIDE, web=False)) as ours:
        receiver.status = 503
        arrange(ours, receiver, events=knobs.EVENTS)
        for kill in range(knobs.KILLS):
            # What waits for its schedule or a lost lease is due at once: three days are not waited for.
            hasten(ours)
            receiver.status = (200, 503, 200, 500)[kill % 4]
            (receiver.gate.clear if kill % 4 == 2 else receiver.gate.set)()
            time.sleep(1.5)
            for member in ours.members:
                if member.role == "control":
                    processes.kill_group(member.process)
                    member.process.wait()
            ours.keep_up()
            control = next(member for member in ours.members if member.role == "control")
            since = len(receiver.got)
            ours.wait_until(
                lambda before=since, at=control: len(receiver.got) > before or at.process.poll() is None,
                "the next sender",
                seconds=60,
            )
        receiver.status = 200
        receiver.gate.set()

        def is_done() -> bool:
            hasten(ours)
            return ours.sql("SELECT count(*) FROM billing_webhookdelivery WHERE status = 'pending'") == [(0,)]

        ours.wait_until(is_done, "every message to be delivered", seconds=120 + knobs.EVENTS, pause=5)
        delivered = ours.sql("SELECT count(*) FROM billing_webhookdelivery WHERE status = 'delivered'")[0][0]
    taken = Counter(each.id for each in receiver.got if each.status == 200)
    assert delivered == len(taken) == knobs.EVENTS
    twice = sum(number > 1 for number in taken.values())
    tell(f"{knobs.EVENTS} messages, {knobs.KILLS} kills: none lost, {twice} taken more than once, under one id")


def hasten(ours: Fleet) -> None:
    ours.sql("UPDATE billing_webhookdelivery SET due_at = now(), tries = 0 WHERE status = 'pending' AND due_at > now()")
