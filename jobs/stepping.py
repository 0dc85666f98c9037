"""Work that is done in steps, each of them one transaction: everybody's in turn, for a while."""

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from uuid import UUID

logger = logging.getLogger(__name__)

# Of the second until the beat asks again.
WORK_SECONDS = 0.8


def work_in_turn(due: Sequence[UUID], step: Callable[[UUID], bool], seconds: float, *, of: str) -> int:
    """Takes these further in turn, for so long at most; how many steps were made.

    `step` says whether there is more to do at once; `of` is what the log calls one of them.
    """
    give_up_at, steps = monotonic() + seconds, 0
    while due and monotonic() < give_up_at:
        again = []
        for one in due:
            if monotonic() >= give_up_at:
                break
            try:
                more = step(one)
            except Exception:
                # The others are worked on, and this one is tried again the next time.
                logger.exception("a step of %s %s failed", of, one)
                continue
            steps += 1
            if more:
                again.append(one)
        due = again
    return steps
