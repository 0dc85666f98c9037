"""What went wrong with the provider: breakers that are open, doubts and how they ended, and drift from its bill."""

from collections.abc import Iterator

from accounts.remembered import remembered
from billing.clock import database_now
from billing.reconciliation.decisions import drift_usd
from config.metrics.text import Family, Kind, Sample, gauge
from jobs import breakers
from jobs.models import Attempt
from jobs.recovery.figures import figures
from jobs.states import AttemptStatus

# Both count rows that go back over all time, or nearly.
COUNTED_EVERY_SECONDS = 10.0


def families() -> Iterator[Family]:
    is_open = tuple(Sample(count, {"reason": reason}) for reason, count in breakers.figures().items())
    in_background = Attempt.objects.filter(status=AttemptStatus.ACCEPTED).count()
    yield gauge(
        "calls_in_background", "Calls that the provider works on by their id; they take no slot.", in_background
    )
    yield Family("breakers_open", Kind.GAUGE, "Queues that a breaker keeps waiting, by the reason.", is_open)
    yield from _counted()


@remembered(COUNTED_EVERY_SECONDS)
def _counted() -> list[Family]:
    doubts = figures(database_now())
    by_status = tuple(Sample(count, {"status": status.value}) for status, count in doubts.by_status.items())
    return [
        Family("doubts", Kind.GAUGE, "Calls that are or were in doubt, by what became of them.", by_status),
        gauge(
            "doubts_unfindable",
            "Open ones that are not looked up any more: a policy or a person ends them.",
            doubts.unfindable,
        ),
        gauge("reconcile_drift_usd", "Undecided differences between the books and the provider's bill.", drift_usd()),
    ]
