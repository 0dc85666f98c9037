"""Looks at the books once a second, whatever happens to the processes: bill, ledger, holds, the longest standstill."""

import contextlib
import threading
import time
from dataclasses import dataclass
from decimal import Decimal

import psycopg

from config.simulator.remote import Remote

EVERY_SECONDS = 1.0

# One statement, and so one snapshot.
_BOOKS = """
    SELECT (SELECT coalesce(sum(spent_change_usd), 0) FROM billing_ledgerentry),
        (SELECT coalesce(sum(held_change_usd), 0) FROM billing_ledgerentry),
        (SELECT count(*) FROM jobs_job),
        (SELECT count(*) FROM jobs_job WHERE finished_at IS NOT NULL),
        (SELECT count(*) FROM jobs_job WHERE status = 'in_doubt'),
        (SELECT count(*) FROM jobs_attempt WHERE status IN ('created', 'calling')),
        (SELECT coalesce(max(waiting_on->>'reason'), '') FROM jobs_queue)
"""
# For how long each job that is neither finished nor in doubt has stood still. One that waits in line moves when its
# line does; one that says what itself or its queue waits for, or pauses, is not stuck.
_STANDSTILL = """
    WITH line AS (SELECT max(created_at) AS moved_at FROM jobs_attempt), standing AS (
        SELECT job.id, job.status, attempt.status AS attempt, CASE job.status
            WHEN 'queued' THEN greatest(job.queued_at, job.run_after, attempt.finished_at, line.moved_at)
            ELSE greatest(attempt.created_at, attempt.calling_at) END AS since
        FROM jobs_job job CROSS JOIN line JOIN jobs_queue queue ON queue.id = job.queue_id
        LEFT JOIN LATERAL (
            SELECT * FROM jobs_attempt WHERE job_id = job.id ORDER BY number DESC LIMIT 1
        ) attempt ON true
        WHERE job.status IN ('queued', 'running')
            AND NOT (job.status = 'queued' AND (job.run_after > now() OR job.waiting_on IS NOT NULL
                OR (queue.waiting_on IS NOT NULL AND queue.waiting_at > now() - interval '15 seconds')))
    )
    SELECT extract(epoch FROM now() - since)::float, id::text, status, attempt
    FROM standing ORDER BY since LIMIT 1
"""


@dataclass(frozen=True)
class Sample:
    """What was true of the fleet at one instant (monotonic)."""

    at: float
    bill: Decimal
    spent: Decimal
    held: Decimal
    jobs: int
    done: int
    in_doubt: int
    in_flight: int
    waiting_on: str  # what the line waits for, as its queue says
    stuck_seconds: float
    stuck: str  # which job that is, and in which state

    @property
    def is_covered(self) -> bool:
        """Whether all that the provider had billed was spent or held."""
        return self.spent + self.held >= self.bill


class Sampler(threading.Thread):
    """Samples until it is stopped; seconds in which the database was away leave none."""

    def __init__(self, database_url: str, simulator: Remote) -> None:
        super().__init__(name="sampler", daemon=True)
        self.samples: list[Sample] = []
        self.missed = 0
        self._database_url, self._simulator = database_url, simulator
        self._connection: psycopg.Connection | None = None
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            try:
                self.samples.append(self._sample())
            except (psycopg.Error, OSError):
                self.missed += 1
                self._disconnect()
        self._disconnect()

    def stop(self) -> None:
        self._over.set()
        self.join()

    @property
    def last(self) -> Sample | None:
        return self.samples[-1] if self.samples else None

    def _sample(self) -> Sample:
        # The bill first. It only grows, and what it has was held before: so whatever is in it now is held or spent in
        # every later state of the ledger. The other way round, calls between the two readings would look unseen.
        bill = Decimal(self._simulator.bill()["cost_usd"])
        connection = self._connected()
        spent, held, jobs, done, in_doubt, in_flight, waiting_on = connection.execute(_BOOKS).fetchone() or ()
        seconds, *stuck = connection.execute(_STANDSTILL).fetchone() or (0.0, "")
        return Sample(
            at=time.monotonic(),
            bill=bill,
            spent=spent,
            held=held,
            jobs=jobs,
            done=done,
            in_doubt=in_doubt,
            in_flight=in_flight,
            waiting_on=waiting_on,
            stuck_seconds=seconds,
            stuck=" ".join(str(word) for word in stuck),
        )

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = psycopg.connect(
                self._database_url, autocommit=True, connect_timeout=2, options="-c statement_timeout=5000"
            )
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None
