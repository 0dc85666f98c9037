"""Named steps at which a test may stop a process for good, to kill it there.

Nothing happens unless BURSAR_PAUSE_AT names one.
"""

import logging
import time

from django.conf import settings

logger = logging.getLogger(__name__)

LONGER_THAN_ANY_TEST_SECONDS = 3600


def reach(step: str) -> None:
    """Says that a step of the path was reached."""
    if step == settings.PAUSE_AT:
        logger.warning("paused at %s", step)
        time.sleep(LONGER_THAN_ANY_TEST_SECONDS)
