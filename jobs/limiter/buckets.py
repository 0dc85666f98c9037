"""What is asked of the limiter and what it answers: limits, askings, turns and admissions. Plain values."""

from dataclasses import dataclass, field
from struct import calcsize, unpack_from
from time import monotonic
from uuid import UUID

from accounts.models import ProjectRateLimit, RateLimit
from jobs.stated_limits import DAY_MS, MINUTE_MS, PROJECT_TOKENS

# How far ahead a turn is given to a call that leaves the headroom alone. Less than the headroom lasts, so that a call
# that may use it finds some of it left before the turns that lie ahead.
AHEAD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """One limit that binds a call, and how much of it the call uses. A limit of 0: only what the provider states.

    The name is its own among the limits of one account and model family: that of a field of `RateLimit`, after its
    owner and a colon where that is not the organization.
    """

    name: str
    limit: int
    window_ms: int
    amount: int

    @property
    def owner(self) -> str:
        """Whose limit it is: '' for the organization's, else as `project_owner` has it."""
        return self.name.rpartition(":")[0]

    @property
    def counts_requests(self) -> bool:
        return self.name.rpartition(":")[2].startswith("requests")

    @property
    def stated_as(self) -> str:
        """The name under which the provider speaks of it."""
        return PROJECT_TOKENS if self.owner and self.name.endswith(":tokens_per_minute") else self.name


@dataclass(frozen=True, slots=True)
class Asking:
    """One call that wants its turn within the horizon. `more` binds it beside the organization's limits.

    Without `use_headroom` it leaves a small part of each limit to others, and is given no turn further ahead than
    AHEAD_SECONDS: for whoever has had much already.
    """

    account: str
    family: str
    limits: RateLimit
    tokens: int
    more: tuple[Bucket, ...] = ()
    use_headroom: bool = False
    horizon_seconds: float = 10.0

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        return (*buckets_of_organization(self.limits, requests=1, tokens=self.tokens), *self.more)

    @property
    def horizon_ms(self) -> int:
        most = self.horizon_seconds if self.use_headroom else min(self.horizon_seconds, AHEAD_SECONDS)
        return int(most * 1000)


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that was taken: what is needed to give it back, and to compare with what the provider says of it."""

    account: str
    family: str
    buckets: tuple[Bucket, ...]
    numbers: bytes  # as the script packed them
    received_at: float = field(default_factory=monotonic)

    @property
    def instants_us(self) -> tuple[int, int]:
        """When it was given, and when the call may start, by Redis's clock."""
        given, starts = unpack_from(">dd", self.numbers)
        return int(given), int(starts)

    @property
    def counts(self) -> list[tuple[int, int]]:
        """Of each bucket: what we had taken in all, and whether this was its latest turn."""
        return [(int(taken), int(latest)) for taken, latest, _ in self._numbers]

    @property
    def room(self) -> list[float]:
        """Of each bucket: what calls like this one could still have taken at the instant of the turn."""
        return [room for _, _, room in self._numbers]

    @property
    def _numbers(self) -> list[tuple[float, float, float]]:
        numbers = unpack_from(f">{3 * len(self.buckets)}d", self.numbers, calcsize(">dd"))
        return list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))

    def now_us(self) -> int:
        """The instant of Redis's clock, by the time that has passed here."""
        return self.instants_us[0] + round((monotonic() - self.received_at) * 1e6)


@dataclass(frozen=True, slots=True)
class Go:
    """The call may start in so many seconds: its turn is taken."""

    wait_seconds: float
    turn: Turn | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class NotYet:
    """The call's turn would come in so many seconds, later than the horizon: nothing is taken.

    `limit` is what binds it.
    """

    wait_seconds: float
    limit: str


@dataclass(frozen=True, slots=True)
class Never:
    """One call is more than the limit admits at all."""

    limit: str


Admission = Go | NotYet | Never


def asking_for(
    account: str,
    family: str,
    limits: RateLimit,
    override: ProjectRateLimit | None,
    *,
    project_id: UUID,
    tokens: int,
    use_headroom: bool = False,
    horizon_seconds: float = 10.0,
) -> Asking:
    """What a call of a project asks: under its organization's limits and under its own, where it has any.

    The provider may limit the tokens of a project without our knowing: what it says of them is learnt in any case.
    """
    more = buckets_of(override, tokens) if override else ()
    if not any(bucket.stated_as == PROJECT_TOKENS for bucket in more):
        more = (*more, Bucket(f"{project_owner(project_id)}:tokens_per_minute", 0, MINUTE_MS, tokens))
    return Asking(account, family, limits, tokens, more, use_headroom, horizon_seconds)


def buckets_of_organization(limits: RateLimit, *, requests: int, tokens: int) -> tuple[Bucket, ...]:
    """The limits of the account as a whole."""
    return (
        Bucket("requests_per_minute", limits.requests_per_minute or 0, MINUTE_MS, requests),
        Bucket("tokens_per_minute", limits.tokens_per_minute or 0, MINUTE_MS, tokens),
        Bucket("requests_per_day", limits.requests_per_day or 0, DAY_MS, requests),
        Bucket("tokens_per_day", limits.tokens_per_day or 0, DAY_MS, tokens),
    )


def buckets_of(project_limits: ProjectRateLimit, tokens: int) -> tuple[Bucket, ...]:
    """The limits that a project has of its own, for one call of so many tokens."""
    owner = project_owner(project_limits.project_id)
    limits = (
        ("requests_per_minute", project_limits.requests_per_minute, MINUTE_MS, 1),
        ("tokens_per_minute", project_limits.tokens_per_minute, MINUTE_MS, tokens),
        ("requests_per_day", project_limits.requests_per_day, DAY_MS, 1),
        ("tokens_per_day", project_limits.tokens_per_day, DAY_MS, tokens),
    )
    return tuple(Bucket(f"{owner}:{name}", limit, window, amount) for name, limit, window, amount in limits if limit)


def project_owner(project_id: UUID | None) -> str:
    """How the names of a project's own limits begin."""
    return f"project:{project_id}"
