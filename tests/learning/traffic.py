"""Jobs as the service leaves them, of calls whose needs are drawn from known distributions: written in bulk."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts import remembered
from billing.limits import Owner
from billing.models import Price, Reservation, UsageRecord
from billing.prices import terms_of
from billing.pricing import PriceTerms, Tokens, cost
from jobs import submission
from jobs.learning import levels
from jobs.learning.folding import learn_some
from jobs.models import Attempt, Job, Unlearnt
from jobs.states import AttemptStatus, JobStatus
from jobs.submission import Submission
from jobs.validation import PromptRequest
from tests.conftest import Tenant

MODEL = "o1-mini"
CODE = "Write a Python function that sorts a list."
QUESTION = "Why is the sky blue, and when is it not?"
SUMMARY = "Summarize the minutes in three sentences."
EXTRACTION = "Extract all entities as JSON."


@dataclass(frozen=True)
class Need:
    """What a call would take if nothing cut it off."""

    reasoning: int
    visible: int

    @property
    def whole(self) -> int:
        return self.reasoning + self.visible


# The need of the n-th call.
Draw = Callable[[random.Random, int], Need]


def _tokens(rng: random.Random, median: float, sigma: float) -> int:
    return max(1, round(rng.lognormvariate(math.log(median), sigma)))


def lognormal(rng: random.Random, number: int) -> Need:
    return Need(_tokens(rng, 1100, 0.7), _tokens(rng, 300, 0.5))


def bimodal(rng: random.Random, number: int) -> Need:
    """Three in ten think ten times as long."""
    return Need(_tokens(rng, *((4000, 0.4) if rng.random() < 0.3 else (400, 0.35))), _tokens(rng, 200, 0.4))


def drifting(rng: random.Random, number: int) -> Need:
    """Twice as much after every 5,000 calls."""
    return Need(_tokens(rng, 700 * 2 ** (number / 5000), 0.6), _tokens(rng, 300, 0.5))


@dataclass
class Traffic:
    """The calls of one project with one prompt."""

    tenant: Tenant
    draw: Draw
    prompt: str
    seed: int
    caps: Sequence[int | None] = (None,)
    model: str = MODEL
    effort: str = ""
    number: int = 0
    needs: dict[Any, Need] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._bounds: dict[Any, Any] = {}
        self.price = Price.objects.filter(model=self.model, service_tier="standard").earliest("effective_from")

    @property
    def terms(self) -> PriceTerms:
        return terms_of(self.price)

    def run(self, count: int, *, at_once: int = 100, at: datetime | None = None) -> list[Job]:
        """So many calls, each expected by what was learnt of those before its hundred."""
        jobs: list[Job] = []
        while len(jobs) < count:
            some = self.submit(min(at_once, count - len(jobs)))
            self.finish(some, at)
            assert learn_some() == len(some)
            levels.learnt_for.forget()
            jobs += some
        return jobs

    def submit(self, count: int) -> list[Job]:
        """Jobs as a submission makes them, not stored."""
        was_on, remembered.is_on = remembered.is_on, True
        try:
            return [self._job() for _ in range(count)]
        finally:
            remembered.is_on = was_on

    def _job(self) -> Job:
        cap = self.rng.choice(self.caps)
        parameters: dict[str, Any] = {} if cap is None else {"max_completion_tokens": cap}
        key, now = self.tenant.api_key.api_key, timezone.now()
        if cap not in self._bounds:
            self._bounds[cap] = submission.check(key, self._asked(parameters), now)
        if self.effort:  # which this model does not take
            parameters["reasoning_effort"] = self.effort
        job = submission.job_of(key, self._asked(parameters), self._bounds[cap], now)
        self.needs[job.pk] = self.draw(self.rng, self.number)
        self.number += 1
        return job

    def _asked(self, parameters: dict[str, Any]) -> Submission:
        return Submission(PromptRequest(self.model, [{"role": "user", "content": self.prompt}], parameters))

    @transaction.atomic
    def finish(self, jobs: Sequence[Job], at: datetime | None = None) -> None:
        """Stores them as answered, each with attempt, reservation and usage record, and on the list to be learnt of."""
        at = at or timezone.now()
        rows = [self._answered(job, at + timedelta(microseconds=place)) for place, job in enumerate(jobs)]
        Job.objects.bulk_create(jobs)
        for model, made in zip((Attempt, Reservation, UsageRecord), zip(*rows, strict=True), strict=True):
            model.objects.bulk_create(made)
        Unlearnt.objects.bulk_create(Unlearnt(job=job) for job in jobs)

    def _answered(self, job: Job, at: datetime) -> tuple[Attempt, Reservation, UsageRecord]:
        need, cap = self.needs[job.pk], job.bound_output_tokens
        is_cut = need.whole > cap
        tokens = Tokens(43, 0, min(need.whole, cap), min(need.reasoning, cap))
        parts = cost(tokens, terms_of(self.price))
        costs = {name: getattr(parts, name) for name in ("input_usd", "cached_input_usd", "output_usd")}
        costs |= {"reasoning_usd": parts.reasoning_usd, "total_usd": parts.total_usd}
        for name, value in costs.items():
            setattr(job, name, value)
        job.status = JobStatus.INCOMPLETE if is_cut else JobStatus.SUCCEEDED
        job.finish_reason = "length" if is_cut else "stop"
        job.is_empty = tokens.reasoning == tokens.output
        job.finished_at = job.started_at = at
        attempt = Attempt(
            id=uuid7(), job=job, number=1, status=AttemptStatus.ANSWERED, created_at=at, lease_expires_at=at,
            calling_at=at, finished_at=at,
        )  # fmt: skip
        owner = Owner(self.tenant.project, model=self.model)
        of = {"organization": self.tenant.organization, "project": owner.project, "model": self.model}
        of |= {"service_tier": "standard", "price": self.price}
        reservation = Reservation(
            id=uuid7(), reference=attempt.pk, status="settled", amount_usd=job.bound_usd, settled_usd=parts.total_usd,
            input_tokens=job.bound_input_tokens, output_tokens=cap, window_start=at, reserved_at=at, resolved_at=at,
            **of,
        )  # fmt: skip
        record = UsageRecord(
            reservation=reservation, snapshot=f"{self.model}-2024-09-12", input_tokens=tokens.input,
            cached_input_tokens=0, output_tokens=tokens.output, reasoning_tokens=tokens.reasoning,
            input_usd_per_million=self.price.input_usd_per_million,
            cached_input_usd_per_million=self.price.cached_input_usd_per_million,
            output_usd_per_million=self.price.output_usd_per_million,
            is_empty=job.is_empty, window_start=at, dispatched_at=at, booked_at=at, recorded_at=at, **of, **costs,
        )  # fmt: skip
        return attempt, reservation, record

    def coverage(self, jobs: Sequence[Job], share: str) -> float:
        """The part of the jobs whose need was no more than what this share of calls was expected to need."""
        met = [self.needs[job.pk].whole <= getattr(job, f"expected_{share}_tokens") for job in jobs]
        return sum(met) / len(met)
