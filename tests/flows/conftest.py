"""Stories of jobs: the real path from submission to settlement, against the simulator over a real socket."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import ApiKey
from config.simulator.running import RunningSimulator
from jobs import dispatch, execution, limiter, workers
from jobs.background import looking
from jobs.models import Attempt, Job
from jobs.states import AttemptStatus
from jobs.submission import Submission, submit
from jobs.validation import PromptRequest

PROMPT = (
    "Write a Python script that takes a matrix represented as a string with format '[1,2],[3,4],[5,6]' and prints the "
    "transpose in the same format."
)
LONG_AGO = datetime(2024, 9, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[RunningSimulator]:
    with RunningSimulator(enforce_limits=False) as simulator:
        yield simulator


@pytest.fixture
def simulator(simulator_process: RunningSimulator, settings) -> RunningSimulator:
    """The provider, empty of faults and with fresh rate limits; the settings point at it."""
    simulator_process.reset()
    simulator_process.clear_faults()
    settings.OPENAI_BASE_URL = simulator_process.base_url
    settings.OPENAI_API_KEY = "sk-simulator"
    settings.PROVIDER_SERVES_SHUT_DOWN_MODELS = True
    settings.BACKGROUND = "on"
    settings.CALL_DEADLINE_SECONDS = 20.0
    return simulator_process


@pytest.fixture(autouse=True)
def _fresh_limiter() -> None:
    """Nothing was used, and Redis has counted for long: otherwise each test would wait a second for its first turn."""
    redis = limiter.connection()
    for key in redis.scan_iter("bursar:*"):
        redis.delete(key)
    redis.set(limiter.BORN_KEY, "0.000")


@dataclass
class Path:
    """The path with no broker in between: what Celery would carry is called here, one thing after the other."""

    api_key: ApiKey
    simulator: RunningSimulator

    def submit(self, model: str = "o1-mini", prompt: str = PROMPT, **parameters: Any) -> Job:
        names = ("priority", "max_cost_usd", "deadline", "wants_stream")
        own = {name: parameters.pop(name) for name in names if name in parameters}
        request = PromptRequest(model, [{"role": "user", "content": prompt}], parameters)
        with transaction.atomic():
            return submit(self.api_key, Submission(request, **own))

    def dispatch(self) -> list[Attempt]:
        dispatch.dispatch()
        return list(Attempt.objects.filter(status=AttemptStatus.CREATED).order_by("id"))

    def run(self) -> None:
        """Everything that may start now, until nothing may and all that was begun has ended."""
        while attempts := self.dispatch():
            for attempt in attempts:
                execution.execute(attempt.pk, worker="tests")
            while Attempt.objects.filter(status=AttemptStatus.ACCEPTED, look_at__isnull=False).exists():
                self.look()

    def look(self) -> None:
        """Looks once at everything that the provider does in the background, however soon."""
        Attempt.objects.filter(look_at__isnull=False).update(look_at=LONG_AGO)
        looking.look()

    def bill(self, job: Job) -> dict[str, Any]:
        """What the simulator billed for a job. Found by the attempt's id, which goes with every call."""
        lines = self.simulator.bill(lines=True)["lines"]
        attempts = {str(pk) for pk in job.attempts.values_list("pk", flat=True)}
        return [line for line in lines if line["client_request_id"] in attempts]


@pytest.fixture
def slots(db) -> Callable[[int], None]:
    """Says how many calls a worker that never falls silent can hold: a hundred, until told otherwise."""

    def have(count: int) -> None:
        workers.report("tests", slots=count, now=timezone.now() + timedelta(days=1))

    have(100)
    return have


@pytest.fixture
def path(alice, simulator, slots, monkeypatch) -> Path:
    monkeypatch.setattr(dispatch, "send", lambda attempt_ids: None)
    return Path(alice.api_key.api_key, simulator)
