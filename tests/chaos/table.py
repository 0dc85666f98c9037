"""What a run comes to: a table, and the promises that were broken."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from tests.chaos.driver import Happened
from tests.chaos.running import Run
from tests.chaos.schedule import Event

MOST_STUCK_SECONDS, MOST_AWAY_SECONDS = 60.0, 15.0
# Reading that stops working so soon after an event does so because of it.
_SEEN_SECONDS = 5.0
# What keeps requests from being answered; of several at a time the gravest is to blame.
_GRAVEST_FIRST = ("kill PostgreSQL", "kill web", "stop web", "stop server", "kill server", "kill Valkey", "flush")


def findings(run: Run) -> list[str]:
    """Every broken promise about jobs, money and answers in a line; none if all were kept."""
    found = [*run.books.findings, *run.report["findings"]]
    uncovered = [sample for sample in run.samples if not sample.is_covered]
    if uncovered:
        worst = uncovered[0]
        found.append(
            f"{len(uncovered)} samples with more in the bill than spent and held, the first: bill {worst.bill}, "
            f"spent {worst.spent}, held {worst.held}"
        )
    return found


def unrecovered(run: Run) -> list[str]:
    """What recovery should have ended: jobs that still run, and doubts whose truth the provider knows."""
    books, found = run.books, []
    if running := books.statuses.get("running", 0):
        found.append(f"{running} jobs still run")
    if books.billed_in_doubt:
        found.append(f"{books.billed_in_doubt} billed calls are still in doubt, {books.billed_in_doubt_usd} USD")
    return found


def delays(run: Run) -> list[str]:
    """What took longer than promised, on a machine that does nothing else."""
    found = []
    longest = max(run.samples, key=lambda sample: sample.stuck_seconds)
    if longest.stuck_seconds > MOST_STUCK_SECONDS:
        found.append(f"a job stood still for {longest.stuck_seconds:.0f} s: {longest.stuck}")
    for what, seconds in _absences(run):
        if seconds > MOST_AWAY_SECONDS:
            found.append(f"the API was away for {seconds:.1f} s: {what}")
    return found


def table(run: Run) -> str:
    books, report = run.books, run.report
    waits = sorted(wait for _, _, wait in report["accepted"])
    covered = sum(sample.is_covered for sample in run.samples)
    rows = [
        ("knobs", str(run.knobs)),
        ("went wrong", _counts(_by_kind(run.trail))),
        (
            "jobs accepted",
            f"{len(waits)}; p95 after {waits[int(len(waits) * 0.95)]:.2f} s, the last after {waits[-1]:.1f} s",
        ),
        ("jobs now", ", ".join(f"{count} {status}" for status, count in sorted(books.statuses.items()))),
        ("answers", _counts(report["answers"])),
        ("broken connections", _counts(report["broken"])),
        ("readings", _counts(report["probes"])),
        *((f"API away, {what}", words) for what, words in _absence_by_kind(run).items()),
        ("bill", f"{books.bill} USD for {books.billed_calls} calls"),
        ("ledger", f"{books.ledger} USD, held {books.held} USD"),
        ("jobs say", f"{books.jobs} USD"),
        ("bill - ledger", f"{books.bill - books.ledger} USD"),
        ("in doubt", f"{books.doubts}, held {books.held_in_doubt_usd} USD; {books.billed_in_doubt} of them billed"),
        ("ledger + held >= bill", f"in {covered} of {len(run.samples)} samples"),
        ("longest standstill", f"{max(sample.stuck_seconds for sample in run.samples):.1f} s"),
        ("recovery", f"{run.recovery_seconds:.0f} s after the load"),
        ("verify_ledger", books.verification),
    ]
    return "\n".join(f"  {name:<28} {words}" for name, words in rows)


def _kind(event: Event) -> str:
    return f"{event.action} {event.role}".strip()


def _by_kind(trail: Sequence[Happened]) -> Counter[str]:
    return Counter(_kind(happened.event) for happened in trail)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {what}" for what, count in sorted(counts.items(), key=lambda item: -item[1])) or "none"


def _absences(run: Run) -> list[tuple[str, float]]:
    """For each time that reading did not work: after what, and for how many seconds since that last happened."""
    found = []
    for began, ended in run.report["away"]:
        before = [happened for happened in run.trail if began - _SEEN_SECONDS < happened.at <= ended]
        kinds = [kind for kind in _GRAVEST_FIRST if any(_kind(happened.event) == kind for happened in before)]
        if kinds:
            latest = max(happened.at for happened in before if _kind(happened.event) == kinds[0])
            found.append((kinds[0], ended - max(began, latest)))
        else:
            found.append(("nothing in particular", ended - began))
    return found


def _absence_by_kind(run: Run) -> dict[str, str]:
    seconds = defaultdict(list)
    for what, away in _absences(run):
        seconds[what].append(away)
    return {
        what: f"{len(aways)} times, median {median(aways):.1f} s, longest {max(aways):.1f} s"
        for what, aways in sorted(seconds.items())
    }
