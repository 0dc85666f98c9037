"""The jobs of the past, drawn: when people ask, of which model, how long it thinks, and what goes wrong."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import UUID

from accounts.models import ApiKey
from accounts.tiers import standing
from billing.history import PastCall
from billing.models import Price
from billing.prices import price_on, terms_of
from billing.pricing import Tokens, cost
from jobs.demo_data.people import Cast
from jobs.demo_data.plans import ProjectPlan, Work
from jobs.models import ModelSnapshot
from jobs.states import JobStatus

# No month of the past comes nearer to its limit than that: what would have is not asked.
FULLEST = Decimal("0.85")
# One day on which the provider failed one call in eight.
INCIDENT = timedelta(days=47)
LATE_SUMMER = range(8, 9)  # August, when many are away
REFUSALS = (
    (429, "rate_limit_exceeded", "Rate limit reached for this model."),
    (500, "server_error", "The server had an error while processing your request."),
    (503, "overloaded", "The engine is currently overloaded."),
)


@dataclass(slots=True)
class PastJob:
    """A job of the past with its attempts, in order."""

    id: UUID
    plan: ProjectPlan
    key: ApiKey
    queued_at: datetime
    status: JobStatus
    finished_at: datetime
    model: str
    service_tier: str
    calls: list[PastCall] = field(default_factory=list)
    refusals: dict[UUID, tuple[int, str, str]] = field(default_factory=dict)


def made_id(at: datetime, dice: Random) -> UUID:
    """A UUID of version 7 of that instant: rows of the past stand in order with those of today."""
    moment = int(at.timestamp() * 1000)
    return UUID(int=moment << 80 | 7 << 76 | dice.getrandbits(12) << 64 | 2 << 62 | dice.getrandbits(62))


class Past:
    """Draws an organization's jobs in the order in which they were queued."""

    def __init__(self, cast: Cast, began_at: datetime, until: datetime, dice: Random, ids: Random):
        self.cast, self.began_at, self.until, self.dice, self.ids = cast, began_at, until, dice, ids
        self._prices: dict[tuple[str, str, date], Price] = {}
        current = ModelSnapshot.objects.filter(is_current=True).values_list("model__name", "name")
        self._snapshots: dict[str, str] = dict(current)
        self._spent: dict[tuple[int, int], Decimal] = {}
        self._limits: dict[tuple[int, int], Decimal] = {}
        self._overruns = 0

    def jobs(self, count: int) -> Iterator[PastJob]:
        """About so many."""
        weights = list(self._day_weights())
        total = sum(weight for _, weight in weights)
        for day, weight in weights:
            todays = int(count * weight / total + self.dice.random())
            plans = self.dice.choices(self.cast.plan.projects, [p.share for p in self.cast.plan.projects], k=todays)
            for at, plan in sorted(((self._instant(day), plan) for plan in plans), key=lambda each: each[0]):
                if at < self.until and (job := self._job(plan, at)):
                    yield job

    def _day_weights(self) -> Iterator[tuple[date, float]]:
        """Each day of the half year: weekdays, growth, and a quiet August."""
        days = (self.until.date() - self.began_at.date()).days
        for number in range(days + 1):
            day = self.began_at.date() + timedelta(days=number)
            growth = 1 + self.cast.plan.growth_percent / 100 * number / days
            season = 0.7 if day.month in LATE_SUMMER else 1.0
            week = 0.25 if day.weekday() > 4 else (1.1, 1.15, 1.1, 1.0, 0.75)[day.weekday()]
            yield day, growth * season * week * self.dice.uniform(0.85, 1.15)

    def _instant(self, day: date) -> datetime:
        """In the morning or after lunch, as people work."""
        hour = self.dice.gauss(9.8, 1.3) if self.dice.random() < 0.55 else self.dice.gauss(14.6, 1.7)
        seconds = min(max(hour, 0.1), 23.7) * 3600 + self.dice.uniform(-600, 600)
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return midnight + timedelta(seconds=max(0, int(seconds)), microseconds=self.dice.randrange(1_000_000))

    def _job(self, plan: ProjectPlan, at: datetime) -> PastJob | None:
        """One job; None where nobody asks, on a weekend or with the month's limit near."""
        dice, work = self.dice, plan.work
        if at.weekday() > 4 and dice.randrange(100) >= work.weekend_percent * 2:
            return None
        shares = next(era for since, era in reversed(work.eras) if since <= at.date())
        (model,) = dice.choices(list(shares), list(shares.values()))
        tier = "batch" if dice.randrange(100) < work.batch_percent else "standard"
        key = dice.choice(self.cast.keys[plan.name])
        job = PastJob(made_id(at, self.ids), plan, key, at, JobStatus.SUCCEEDED, at, model, tier)
        if dice.randrange(1000) < 3:
            job.status, job.finished_at = JobStatus.CANCELLED, at + timedelta(seconds=dice.randrange(5, 90))
            return job
        starts = at + timedelta(seconds=dice.expovariate(0.5))
        is_incident = at.date() == (self.until - INCIDENT).date()
        fails = dice.randrange(1000) < work.failed_per_mille * (8 if is_incident else 1)
        if fails:
            starts = self._refused(job, starts)
            if dice.randrange(4) == 0:
                job.status, job.finished_at = JobStatus.FAILED, job.calls[-1].resolved_at
                return job
        return job if self._answered(job, starts) else None

    def _refused(self, job: PastJob, starts: datetime) -> datetime:
        """An attempt that the provider refuses, and costs nothing; returns when the next one starts."""
        status, code, message = refusal = self.dice.choice(REFUSALS)
        ends = starts + timedelta(seconds=self.dice.uniform(0.2, 4))
        call = self._call(job, starts, ends, None, reason=f"{status} {code}: {message}")
        job.refusals[call.reference] = refusal
        return ends + timedelta(seconds=self.dice.uniform(2, 30))

    def _answered(self, job: PastJob, starts: datetime) -> bool:
        """The attempt that is paid; False where the month's limit is too near for it."""
        tokens, is_empty = self._tokens(job.plan.work)
        month = (starts.year, starts.month)
        total = cost(tokens, terms_of(self._price(job.model, job.service_tier, starts.date()))).total_usd
        spent = self._spent.get(month, Decimal(0)) + total
        if spent > FULLEST * self._limit(month, starts):
            return False
        ends = starts + timedelta(seconds=2 + tokens.output / self.dice.uniform(60, 140))
        if ends >= self.until:
            return False
        self._spent[month] = spent
        self._call(job, starts, ends, tokens, is_empty=is_empty)
        job.status = JobStatus.INCOMPLETE if is_empty else JobStatus.SUCCEEDED
        job.finished_at = ends
        return True

    def _tokens(self, work: Work) -> tuple[Tokens, bool]:
        """What goes in and comes out, and whether all that came out was reasoning up to the cap."""
        dice = self.dice
        read = max(20, int(work.input_tokens * math.exp(dice.gauss(-0.15, 0.55))))
        cached = int(read * work.cached_percent / 100 * dice.uniform(0.3, 1.7)) // 128 * 128 if read >= 1024 else 0
        if dice.randrange(1000) < work.empty_per_mille:
            return Tokens(read, min(cached, read), work.cap, work.cap), True
        written = min(work.cap, max(16, int(work.output_tokens * math.exp(dice.gauss(-0.2, 0.6)))))
        share = min(0.97, max(0.0, work.reasoning_percent / 100 * dice.gauss(1, 0.15)))
        return Tokens(read, min(cached, read), written, int(written * share) // 64 * 64), False

    def _call(
        self,
        job: PastJob,
        starts: datetime,
        ends: datetime,
        tokens: Tokens | None,
        *,
        is_empty: bool = False,
        reason: str = "",
    ) -> PastCall:
        bound = job.plan.work.cap
        if tokens and not self._overruns and starts > self.until - timedelta(days=20) and tokens.output > 2000:
            bound, self._overruns = tokens.output // 2, 1  # the one bill that comes out above its bound
        call = PastCall(
            id=made_id(starts, self.ids),
            reference=made_id(starts, self.ids),
            project=self.cast.projects[job.plan.name],
            member_id=job.key.created_by_id,
            api_key_id=job.key.pk,
            model=job.model,
            snapshot=self._snapshots.get(job.model, job.model),
            service_tier=job.service_tier,
            price=self._price(job.model, job.service_tier, starts.date()),
            bound_input=tokens.input + 64 if tokens else job.plan.work.input_tokens,
            bound_output=bound,
            reserved_at=starts,
            resolved_at=ends,
            tokens=tokens,
            is_empty=is_empty,
            reason=reason,
        )
        job.calls.append(call)
        return call

    def _price(self, model: str, service_tier: str, day: date) -> Price:
        key = (model, service_tier, day)
        if key not in self._prices:
            self._prices[key] = price_on([model], service_tier, day)
        return self._prices[key]

    def _limit(self, month: tuple[int, int], at: datetime) -> Decimal:
        if month not in self._limits:
            self._limits[month] = standing(self.cast.organization, at).tier.monthly_limit_usd
        return self._limits[month]
