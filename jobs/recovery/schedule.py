"""When a doubt is looked at again, and when its project's policy decides. Pure.

The first look is soon: most answers that were lost on the way are at the provider by then. Others are still being
written when their connection is cut, so for as long as a call may take, looks are a minute apart at most; after that
each waits for half the age of the doubt, up to an hour. The provider keeps answers for thirty days.
"""

from datetime import datetime, timedelta

FIRST_LOOK = timedelta(seconds=2)
LONGEST_WHILE_RUNNING = timedelta(minutes=1)
LONGEST = timedelta(hours=1)
# How long the provider keeps what it was asked to keep (OpenAI platform documentation, 2026).
KEPT_FOR = timedelta(days=30)


def first_look(now: datetime) -> datetime:
    """When a new doubt is looked up."""
    return now + FIRST_LOOK


def next_look(opened_at: datetime, now: datetime, *, call_seconds: float) -> datetime | None:
    """When a doubt that was not found now is looked up again; None once the provider has it no more.

    `call_seconds`: how long a call may take.
    """
    age = now - opened_at
    if age >= KEPT_FOR:
        return None
    longest = LONGEST_WHILE_RUNNING if age < 2 * timedelta(seconds=call_seconds) else LONGEST
    return now + min(max(age / 2, FIRST_LOOK), longest)
