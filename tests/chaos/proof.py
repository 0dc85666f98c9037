"""What must be true afterwards: every accepted job is there once, and three sums are equal or their difference is held.

The bill is the provider's, the ledger Bursar's, and the third is what the jobs say that they cost.
"""

import json
import subprocess
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.test import override_settings

from accounts.models import IdempotencyRecord
from accounts.models.encrypted import encrypted
from config.embedded.processes import CHECKOUT
from config.embedded.stack import MANAGE
from tests.benchmarks.load.fleet import Fleet
from tests.benchmarks.load.servers import SECRET_KEY

_ATTEMPTS = """
    SELECT attempt.id::text, attempt.job_id::text, attempt.status, reservation.status, reservation.amount_usd,
        record.total_usd
    FROM jobs_attempt attempt JOIN billing_reservation reservation ON reservation.reference = attempt.id
        LEFT JOIN billing_usagerecord record ON record.reservation_id = reservation.id
"""
_KEYS = "SELECT key, response_body FROM jobs_idempotencyrecord"
_BOOKED = """
    SELECT coalesce(sum(spent_change_usd), 0), coalesce(sum(held_change_usd), 0) FROM billing_ledgerentry
"""
# An attempt whose outcome nobody knows yet, or ever will.
_UNRESOLVED = frozenset({"calling", "in_doubt"})
_SHOWN = 5


@dataclass(frozen=True)
class Call:
    """One attempt: how it stands, what it holds, and what was booked for it, None if nothing was."""

    attempt: str
    job: str
    status: str
    reservation: str
    held_usd: Decimal
    booked_usd: Decimal | None


@dataclass
class Books:
    """What was found. `findings` are broken promises; there should be none."""

    bill: Decimal = Decimal(0)
    ledger: Decimal = Decimal(0)
    held: Decimal = Decimal(0)
    jobs: Decimal = Decimal(0)
    billed_calls: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    doubts: int = 0  # attempts that are not resolved
    billed_in_doubt: int = 0  # of these: are in the bill
    billed_in_doubt_usd: Decimal = Decimal(0)
    held_in_doubt_usd: Decimal = Decimal(0)
    verification: str = ""
    findings: list[str] = field(default_factory=list)

    def find(self, what: str, those: Sequence[Any]) -> None:
        if those:
            self.findings.append(f"{len(those)} {what}: {', '.join(str(one) for one in those[:_SHOWN])}")


def prove(fleet: Fleet, accepted: Mapping[str, str]) -> Books:
    """Compares everything with everything; `accepted` is the job of each key, as the client was told."""
    books = Books()
    calls = {row[0]: Call(*row) for row in fleet.sql(_ATTEMPTS)}
    bill = fleet.simulator.bill(lines=True)["lines"]
    _prove_jobs(books, fleet, accepted, calls.values())
    prove_calls(books, bill, calls)
    _prove_sums(books, fleet, bill)
    _verify(books, fleet)
    return books


def _prove_jobs(books: Books, fleet: Fleet, accepted: Mapping[str, str], calls: Any) -> None:
    """Each accepted key has one job, no job has no key, and every job has ended or its outcome is in doubt."""
    jobs = dict(fleet.sql("SELECT id::text, status FROM jobs_job"))
    books.statuses = dict(Counter(jobs.values()))
    books.find("accepted jobs are lost", [job for job in accepted.values() if job not in jobs])
    books.find("jobs are nobody's", sorted(jobs.keys() - set(accepted.values())))
    with override_settings(SECRET_KEY=SECRET_KEY):  # as the fleet has it; the answer is kept as text
        body = encrypted(IdempotencyRecord, "response_body")
        kept = {key: json.loads(body.opened(stored))["id"] for key, stored in fleet.sql(_KEYS)}
    books.find("keys have another job", [key for key, job in accepted.items() if kept.get(key) != job])
    given = Counter(accepted.values())
    books.find("jobs are of two keys", [job for job, count in given.items() if count > 1])
    unresolved = {call.job for call in calls if call.status in _UNRESOLVED}
    stuck = [job for job, status in jobs.items() if status in ("queued", "running") and job not in unresolved]
    books.find("jobs never ended", stuck)


def prove_calls(books: Books, bill: Sequence[Mapping[str, Any]], calls: Mapping[str, Call]) -> None:
    """Each billed call was booked at its cost, or is held; each booked call was billed; and each job paid for once."""
    cost = {line["client_request_id"]: Decimal(line["cost_usd"]) for line in bill}
    times = Counter(line["client_request_id"] for line in bill)
    books.find("calls were billed twice", [attempt for attempt, count in times.items() if count > 1])
    books.find("billed calls are of no attempt", sorted(cost.keys() - calls.keys()))
    billed = [calls[attempt] for attempt in cost if attempt in calls]
    booked = [call for call in calls.values() if call.booked_usd is not None]
    for name, those in (("billed", billed), ("charged", booked)):
        attempts = defaultdict(list)
        for call in those:
            attempts[call.job].append(call.attempt)
        books.find(f"jobs were {name} twice", [job for job, several in attempts.items() if len(several) > 1])
    books.find("calls were charged and not billed", [call.attempt for call in booked if call.attempt not in cost])
    books.find(
        "calls were charged otherwise than billed",
        [call for call in booked if call.attempt in cost and call.booked_usd != cost[call.attempt]],
    )
    open_ = [call for call in billed if call.booked_usd is None]
    books.find("holds were released though billed", [call for call in open_ if call.reservation != "open"])
    books.find("holds are below the bill", [call for call in open_ if call.held_usd < cost[call.attempt]])
    doubts = [call for call in calls.values() if call.status in _UNRESOLVED]
    books.find("open holds are of no doubt", [c for c in calls.values() if c.reservation == "open" and c not in doubts])
    books.doubts, books.billed_in_doubt = len(doubts), len(open_)
    books.billed_in_doubt_usd = sum((cost[call.attempt] for call in open_), Decimal(0))
    books.held_in_doubt_usd = sum((call.held_usd for call in doubts), Decimal(0))


def _prove_sums(books: Books, fleet: Fleet, bill: Sequence[Mapping[str, Any]]) -> None:
    books.billed_calls = len(bill)
    books.bill = sum((Decimal(line["cost_usd"]) for line in bill), Decimal(0))
    books.ledger, books.held = fleet.sql(_BOOKED)[0]
    books.jobs = fleet.sql("SELECT coalesce(sum(total_usd), 0) FROM jobs_job")[0][0]
    if books.bill - books.ledger != books.billed_in_doubt_usd:
        books.findings.append(f"bill {books.bill} - ledger {books.ledger} is not {books.billed_in_doubt_usd} in doubt")
    if books.ledger != books.jobs:
        books.findings.append(f"ledger {books.ledger}, jobs {books.jobs}")
    if books.held != books.held_in_doubt_usd:
        books.findings.append(f"held {books.held}, in doubt {books.held_in_doubt_usd}")


def _verify(books: Books, fleet: Fleet) -> None:
    """What `manage.py verify_ledger` says."""
    command = [*MANAGE, "verify_ledger"]
    said = subprocess.run(command, cwd=CHECKOUT, env=dict(fleet.environment), capture_output=True, text=True)
    books.verification = said.stdout.strip() or said.stderr.strip()
    if said.returncode != 0:
        books.findings.append(f"verify_ledger: {books.verification}")
