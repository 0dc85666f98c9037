"""What becomes of a queue whose budget has no room for its oldest job. Pure.

Jobs behind it that are smaller, or that another budget binds, get their chance: the line is looked through, a window a
round, from a place that the queue remembers. The oldest are tried again first each time, and nobody is passed over by
an equal or larger job of the same owner, so that none starves behind younger ones of its size.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from jobs.dispatch.lines import OLDEST, Candidate, Line

# Jobs of a queue that are tried in one round, once one of them did not fit.
WINDOW = 25
# Then the line is looked through from its beginning again.
PROBE_SECONDS = 60


def is_passed_by(line: Line, candidate: Candidate) -> bool:
    """Whether a job may not be tried, because an older one of the same owner that is no larger was refused."""
    if line.probe is None or is_among_oldest(line, candidate):
        return False
    least = line.probe["passed_over"].get(_owner(candidate))
    return least is not None and candidate.bound_usd >= Decimal(least)


def is_among_oldest(line: Line, candidate: Candidate) -> bool:
    """Whether the job stands before the place from which the line is being looked through."""
    assert line.probe, "only of a line that is looked through"
    place = (datetime.fromisoformat(line.probe["order_at"]), UUID(line.probe["id"]))
    return (candidate.order_at, candidate.id) <= place


def next_probe(
    line: Line, tried: Sequence[Candidate], refused: Iterable[Candidate], now: datetime
) -> dict[str, Any] | None:
    """Where to look on in a line after a round; None: from its beginning.

    `tried` in their order, those that were passed by included; `refused` of them did not fit.
    """
    refused = list(refused)
    without = {candidate.id for candidate in refused}
    before = line.probe
    if not tried or (not refused and before is None):
        return before
    if before is not None:
        has_room = any(c.id not in without and is_among_oldest(line, c) for c in tried[:OLDEST])
        is_over = line.is_at_end and tried[-1] is line.last
        if has_room or is_over or now - datetime.fromisoformat(before["since"]) > timedelta(seconds=PROBE_SECONDS):
            return None
    passed_over = dict(before["passed_over"]) if before else {}
    for candidate in refused:
        owner = _owner(candidate)
        least = min(candidate.bound_usd, Decimal(passed_over.get(owner, candidate.bound_usd)))
        passed_over[owner] = f"{least:f}"
    return {
        "order_at": tried[-1].order_at.isoformat(),
        "id": str(tried[-1].id),
        "since": before["since"] if before else now.isoformat(),
        "passed_over": passed_over,
    }


def _owner(candidate: Candidate) -> str:
    """Jobs of one queue and one such owner are bound by the same budgets."""
    return f"{candidate.created_by_id} {candidate.api_key_id} {candidate.model}"
