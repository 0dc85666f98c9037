"""How much of the provider's rate limits is used at this instant, by the limiter's own state."""

from dataclasses import dataclass
from datetime import datetime

from accounts.dated import in_force
from accounts.models import RateLimit
from accounts.tiers import standing
from jobs import limiter
from jobs.admin.dashboard.sight import Sight
from jobs.credentials import access_of
from jobs.models import Queue


@dataclass(frozen=True, slots=True)
class Use:
    """One limit of one model family: used of limit, in requests or tokens."""

    family: str
    name: str
    used: int
    limit: int

    @property
    def width(self) -> str:
        """In per cent of the bar."""
        return f"{100 * self.used / self.limit:.2f}"

    @property
    def sentence(self) -> str:
        return f"{self.used:,} of {self.limit:,} {self.name} used: {100 * self.used / self.limit:.0f} %"


@dataclass(frozen=True, slots=True)
class Live:
    """The limits that anything is used of, the fullest first; `is_away`: the limiter does not answer."""

    uses: list[Use]
    is_away: bool = False
    families: int = 0


def live(sight: Sight, now: datetime) -> Live:
    """What is used now of the limits that the organization's calls count against. Asks Redis, each time."""
    project = sight.projects().select_related("organization").first()
    families = Queue.objects.filter(project__in=sight.projects()).order_by("family").values_list("family", flat=True)
    names = list(families.distinct())
    if project is None or not names:
        return Live([])
    try:
        tier = standing(sight.organization, now).tier.number
    except LookupError:
        return Live([])  # no tier exists at all
    account = limiter.account_of(access_of(project))
    rows = list(RateLimit.objects.filter(tier=tier, model__in=names))
    day = sight.organization.terms_date(now)
    uses = []
    try:
        for family in names:
            limits = in_force([row for row in rows if row.model == family], day)
            if limits is not None:
                uses += _uses(family, limiter.room(account, family, limits))
    except limiter.LimiterAway:
        return Live([], is_away=True)
    used = sorted((use for use in uses if use.used), key=lambda use: use.used / use.limit, reverse=True)
    return Live(used, families=len(names))


def _uses(family: str, room: limiter.Room) -> list[Use]:
    return [
        Use(family, bucket.name.replace("_", " "), round(level.used_at(room.now)), round(level.limit))
        for bucket, level in room.levels
        if not bucket.owner
    ]
