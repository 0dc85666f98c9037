"""What jobs that belong together may come to at most, where whoever made them said so.

A job is made only while the bound of one call of it fits beside what the others have cost and may still cost. Jobs are
held to their bounds, so that a price that rises before a call fails the job and not the ceiling.
"""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(slots=True)
class Room:
    """What further jobs may come to, in US dollars; None without a ceiling. `may_grow`: when jobs under way end."""

    usd: Decimal | None
    may_grow: bool

    def take(self, bound_usd: Decimal) -> None:
        """One more has become a job."""
        if self.usd is not None:
            self.usd -= bound_usd
            self.may_grow = True
