"""Named steps of the path at which a test may stop a process or kill it, to see that everything else gets over it.

Nothing happens unless BURSAR_CRASH_AT says so: steps, each with what happens there and when, separated by commas.

    calling=pause            stops the process there for good
    t4.written=kill@3        kills it the third time that it comes there
    answered=kill%0.05       kills it there one time in twenty
"""

import logging
import os
import random
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

logger = logging.getLogger(__name__)

LONGER_THAN_ANY_TEST_SECONDS = 3600
# In the order of the path.
STEPS = (
    "t1.written",  # job and content, not committed
    "t1.committed",
    "t2.held",  # the holds alone, not committed
    "t2.written",  # attempts and running jobs as well, not committed
    "t2.committed",  # and no worker told
    "t2.sent",
    "claimed",
    "admitted",  # it is the call's turn
    "calling",  # committed, nothing sent
    "connected",  # there is a connection to send on
    "answering",  # the head of the answer is here
    "answered",
    "t4.begun",
    "t4.written",  # all of the outcome, not committed
    "settled",
    "rescue.given_back",  # not committed
    "rescue.doubted",  # not committed
    "look.taken",
    "look.found",
    "look.settled",
    "decision.written",  # not committed
)
# Of calls in the background alone.
BACKGROUND_STEPS = ("accepted",)  # by the provider, and its id is stored
# Of batches alone.
BATCH_STEPS = ("batch.stepped",)  # all of a step, not committed
# Of comparisons alone.
COMPARISON_STEPS = ("comparison.stepped",)  # all of a step, not committed
# Of batches at the provider alone.
PROVIDER_BATCH_STEPS = (
    "at_provider.sending",  # nothing was sent, and its lines are held
    "at_provider.uploaded",  # its file is there, and the file's id is not stored
    "at_provider.creating",  # committed, and the provider not asked yet
    "at_provider.created",  # it is there, and its id is not stored
    "at_provider.accepted",
    "at_provider.ended",  # and nothing of it fetched
    "at_provider.fetched",  # its files are here, and nothing of them is booked
    "at_provider.settled",  # some lines, not committed
    "at_provider.returned",  # some lines, not committed
)
# Of learning alone.
LEARNING_STEPS = (
    "learning.taken",  # off the list of what is to be learnt of, not committed
    "learning.written",  # all that was learnt, not committed
)
_KNOWN = (*STEPS, *BACKGROUND_STEPS, *BATCH_STEPS, *COMPARISON_STEPS, *PROVIDER_BATCH_STEPS, *LEARNING_STEPS)
_POINT = re.compile(r"(?P<step>[a-z0-9._]+)=(?P<action>pause|kill)(?:@(?P<nth>\d+)|%(?P<chance>0?\.\d+|[01]))?")


@dataclass(slots=True)
class Point:
    """What happens at a step: on its n-th time, or by chance each time."""

    action: str
    nth: int
    chance: float | None
    reached: int = 0

    def strikes(self) -> bool:
        """Whether it happens this time."""
        self.reached += 1
        if self.chance is not None:
            return random.random() < self.chance  # noqa: S311
        return self.reached == self.nth


def reach(step: str) -> None:
    """Says that a step of the path was reached."""
    if not settings.CRASH_AT:
        return
    point = points(settings.CRASH_AT).get(step)
    if point is None or not point.strikes():
        return
    logger.warning("%s at %s", point.action, step)
    if point.action == "pause":
        time.sleep(LONGER_THAN_ANY_TEST_SECONDS)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


@cache
def points(text: str) -> Mapping[str, Point]:
    """The points that the setting names, counted from now on. Raises ImproperlyConfigured where it cannot be read."""
    found = {}
    for part in text.split(","):
        match = _POINT.fullmatch(part.strip())
        if match is None or match["step"] not in _KNOWN:
            raise ImproperlyConfigured(
                f"BURSAR_CRASH_AT: {part!r} is not step=pause or step=kill, with @n or %chance; the steps are "
                f"{', '.join(_KNOWN)}"
            )
        chance = float(match["chance"]) if match["chance"] else None
        found[match["step"]] = Point(match["action"], int(match["nth"] or 1), chance)
    return found
