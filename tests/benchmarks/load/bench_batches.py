"""A batch from its file to its answers, in a whole Bursar: how long it takes, and how much memory each role ever held.

Every line is answered once, what the batch says it cost is what the ledger says, and no process grows with the batch.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal

import openai
import pytest

from tests.benchmarks.load import books, knobs, processor
from tests.benchmarks.load.fleet import Fleet, Setup, fleet
from tests.benchmarks.load.watching import watching

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(14_400)]

ROLES = ("web", "control", "calls")
WARM_UP = 200
# Beside what the same roles held after the warm-up: caches fill, and each thread has a buffer or two.
GROWTH_MIB = 150
FINAL = {"completed", "failed", "expired", "cancelled"}


def test_a_batch_end_to_end(durable_servers, tell):
    with fleet(durable_servers, Setup(slots=400)) as ours:
        client = openai.OpenAI(api_key=ours.keys["load-0"], base_url=f"{ours.address}/v1", timeout=600)
        _run(ours, client, WARM_UP)
        before = {role: _resident_mib(ours, role) for role in ROLES}
        began = time.monotonic()
        file = client.files.create(file=("requests.jsonl", _requests(knobs.LINES)), purpose="batch")
        uploaded = time.monotonic()
        preview = client.post("/batches/preview", cast_to=dict, body={"input_file_id": file.id})
        previewed = time.monotonic()
        with _most_memory(ours) as most:
            done = _run(ours, client, knobs.LINES, file_id=file.id)
            answered = time.monotonic()
            ids = [json.loads(line)["custom_id"] for line in client.files.content(done.output_file_id).iter_lines()]
        assert ids == [f"line {number}" for number in range(knobs.LINES)]
        assert done.error_file_id is None
        cost = Decimal(done.to_dict()["cost"]["total_usd"])
        of_batch = "SELECT sum(total_usd) FROM jobs_job WHERE metadata->>'batch_id' = %s"
        assert ours.sql(of_batch, done.id) == [(cost,)]
        assert cost <= Decimal(preview["bound"]["cost_usd"])
        proof = books.prove(ours, submitted=WARM_UP + knobs.LINES)
    grown = {role: most[role] - before[role] for role in ROLES}
    tell(f"batch of {knobs.LINES:,} lines, {file.bytes / 2**20:.1f} MiB: uploaded in {uploaded - began:.1f} s,")
    tell(f"  previewed in {previewed - uploaded:.1f} s, answered in {answered - previewed:.0f} s, {cost} USD")
    tell("  memory at most: " + ", ".join(f"{role} {most[role]:.0f} MiB (+{grown[role]:.0f})" for role in ROLES))
    tell(f"  {proof}")
    assert max(grown.values()) < GROWTH_MIB


def _requests(count: int) -> bytes:
    def one(number: int) -> bytes:
        content = f"What is the capital of Mexico? Question #{number}"
        body = {"model": "o1-mini", "messages": [{"role": "user", "content": content}], "max_completion_tokens": 4000}
        line = {"custom_id": f"line {number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(line).encode() + b"\n"

    return b"".join(map(one, range(count)))


def _run(ours: Fleet, client: openai.OpenAI, count: int, file_id: str = ""):
    """A batch of so many lines, when it has ended."""
    file_id = file_id or client.files.create(file=("warm-up.jsonl", _requests(count)), purpose="batch").id
    batch = client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
    seconds = 120 + count / 5

    def has_ended() -> bool:
        return client.batches.retrieve(batch.id).status in FINAL

    ours.wait_until(has_ended, f"a batch of {count}", seconds=seconds, pause=1.0)
    done = client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed) == ("completed", count), done
    return done


def _resident_mib(ours: Fleet, role: str) -> float:
    total = 0.0
    for member in ours.members:
        if member.role == role:
            for pid in processor.family(member.process.pid):
                with suppress(FileNotFoundError, ProcessLookupError):
                    total += processor.resident_kib(pid) / 1024
    return total


@contextmanager
def _most_memory(ours: Fleet) -> Iterator[dict[str, float]]:
    """The most that each role held while the block lasted, looked at once a second."""
    most = dict.fromkeys(ROLES, 0.0)

    def look() -> None:
        for role in ROLES:
            most[role] = max(most[role], _resident_mib(ours, role))

    with watching(look, every_seconds=1.0):
        yield most
    look()
