"""Batches as programs make them: by the provider's own client, against a server, the simulator and the real path."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
import openai
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.db.models import Count

from accounts.models import Project
from jobs.batches import steps
from jobs.batches.at_provider import looking
from jobs.models import Batch, Job, ProviderBatch
from tests.flows.conftest import LONG_AGO, Path, _fresh_limiter, path, simulator, simulator_process, slots

__all__ = ["_fresh_limiter", "path", "simulator", "simulator_process", "slots"]

QUESTION = "What is the capital of Mexico?"


def request(custom_id: str, **body: Any) -> dict[str, Any]:
    """One request of a batch."""
    messages = [{"role": "user", "content": QUESTION}]
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "o1-mini", "messages": messages, "max_completion_tokens": 2000, **body},
    }


def file_of(*requests: Any) -> bytes:
    """A file of requests, one a line."""
    return b"".join(json.dumps(one).encode() + b"\n" for one in requests)


@dataclass
class Batches:
    """What a program does with batches, and the work that Celery would do meanwhile."""

    client: openai.OpenAI
    path: Path

    def upload(self, data: bytes, name: str = "requests.jsonl") -> Any:
        return self.client.files.create(file=(name, data), purpose="batch")

    def create(self, data: bytes, **more: Any) -> Any:
        window = more.pop("completion_window", "24h")
        file = self.upload(data)
        return self.client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window=window, **more
        )

    def work(self) -> None:
        """Everything that can be done now: steps of batches and calls of the model, until nothing changes."""
        while True:
            before = self._figures()
            steps.work(60)
            self.path.run()
            if self._figures() == before:
                return

    def validate(self, data: bytes) -> Any:
        """The batch of a file after validation, before anything runs."""
        batch = self.create(data)
        while Batch.objects.filter(pk=pk_of(batch), status="validating").exists():
            steps.step(pk_of(batch))
        return self.client.batches.retrieve(batch.id)

    def lines(self, file_id: str | None) -> list[dict[str, Any]]:
        if file_id is None:
            return []
        return [json.loads(line) for line in self.client.files.content(file_id).text.splitlines()]

    def _figures(self) -> list[Any]:
        columns = ("status", "completed", "failed", "expired", "cancelled", "written_lines", "read_lines")
        jobs = Job.objects.order_by("status").values_list("status").annotate(Count("pk"))
        return [*Batch.objects.order_by("pk").values_list(*columns), *jobs]


def pk_of(batch: Any) -> Any:
    """The key of the row behind a batch's or file's id."""
    return UUID(batch.id.removeprefix("batch_").removeprefix("file-"))


ClientFor = Callable[[str], openai.OpenAI]


@pytest.fixture
def client_for(db) -> Iterator[ClientFor]:
    """The official client of whoever has this key, on the application itself: within the transaction of the test."""
    application, made = WSGIHandler(), []
    # As Django's own client does it: the end of a request would be the end of the test's transaction.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)

    def make(secret: str) -> openai.OpenAI:
        http = httpx2.Client(transport=httpx2.WSGITransport(application, raise_app_exceptions=False))
        made.append(openai.OpenAI(api_key=secret, base_url="http://localhost/v1", max_retries=0, http_client=http))
        return made[-1]

    yield make
    for one in made:
        one.close()
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


# Calls are made one after the other here: with more, the claims of the last ones would run out before their turn.
SLOTS = 20


@pytest.fixture
def batches(alice, path, client_for, slots) -> Batches:
    slots(SLOTS)
    return Batches(client_for(alice.api_key.secret), path)


@pytest.fixture
def live_batches(alice, path, live_server, slots) -> Iterator[Batches]:
    """The same over a real socket, for what a transaction or a thread of the server decides."""
    slots(SLOTS)
    url = f"{live_server.url}/v1"
    with openai.OpenAI(api_key=alice.api_key.secret, base_url=url, max_retries=0) as client:
        yield Batches(client, path)


@dataclass
class AtProvider:
    """A program's batches, of a project that lets them run at the provider."""

    batches: Batches

    def allow(self, project: Project) -> None:
        Project.objects.filter(pk=project.pk).update(may_batch_at_provider=True)
        project.may_batch_at_provider = True

    def look(self, *, until_nothing_is_due: bool = True) -> None:
        """Works on every batch there, however soon; what the provider has not ended is looked at once."""
        ProviderBatch.objects.exclude(status="closed").update(look_at=LONG_AGO)
        looking.work(30 if until_nothing_is_due else 0.001)

    def work(self, turns: int = 60) -> None:
        """Everything that can be done now, calls of ordinary jobs included, until the batches have ended."""
        for _ in range(turns):
            steps.work(20)
            self.look()
            self.batches.path.run()
            steps.work(20)
            if not Batch.objects.filter(status__in=("validating", "in_progress", "finalizing", "cancelling")).exists():
                self.look()
                return

    def held_and_sent(self, data: bytes, **more: Any) -> Any:
        """A batch whose lines are at the provider, which works on them."""
        batch = self.batches.create(data, **more)
        for _ in range(10):
            steps.work(20)
            self.look(until_nothing_is_due=True)
            if ProviderBatch.objects.filter(status="running").exists():
                return batch
        raise AssertionError(list(ProviderBatch.objects.values()))


@pytest.fixture
def there(batches: Batches, project: Project) -> AtProvider:
    """The same program, whose project lets batches run at the provider."""
    found = AtProvider(batches)
    found.allow(project)
    return found
