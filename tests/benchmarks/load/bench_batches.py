"""A batch from its file to its answers, in a whole Bursar: how long it takes, and how much memory each role ever held.

Every line is answered once, what the batch says it cost is what the ledger says, and no process grows with the batch.
And what a batch does to the dispatcher, in its process and in another.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

import openai
import pytest

from tests.benchmarks.load import books, knobs, processor
from tests.benchmarks.load.fleet import Fleet, Setup, fleet
from tests.benchmarks.load.watching import watching

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(14_400)]

ROLES = ("web", "control", "batches", "calls")
WARM_UP = 200
# Beside what the same roles held after the warm-up: caches fill, and each thread has a buffer or two.
GROWTH_MIB = 150
FINAL = {"completed", "failed", "expired", "cancelled"}
DISPATCHED = re.compile(r"Task jobs\.tasks\.dispatch\[\S+\] succeeded in ([0-9.e-]+)s")


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


def test_a_batch_cancelled_midway(durable_servers, tell):
    """What ran is billed and in the output, the rest has cost nothing and holds nothing."""
    with fleet(durable_servers, Setup(slots=400)) as ours:
        client = openai.OpenAI(api_key=ours.keys["load-0"], base_url=f"{ours.address}/v1", timeout=600)
        file = client.files.create(file=("requests.jsonl", _requests(knobs.LINES)), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        answered = "SELECT count(*) FROM jobs_job WHERE finished_at IS NOT NULL"
        ours.wait_until(lambda: ours.sql(answered)[0][0] >= knobs.LINES // 2, "half", seconds=120 + knobs.LINES / 5)
        began = time.monotonic()
        client.batches.cancel(batch.id)
        ours.wait_until(lambda: client.batches.retrieve(batch.id).status in FINAL, "its end", seconds=600, pause=0.2)
        seconds = time.monotonic() - began
        done = client.batches.retrieve(batch.id)
        lines = [json.loads(line) for line in client.files.content(done.output_file_id).iter_lines()]
        cost = Decimal(done.to_dict()["cost"]["total_usd"])
        proof = books.prove(ours, may_be_cancelled=True)
        ledger = ours.sql("SELECT sum(spent_change_usd) FROM billing_ledgerentry")[0][0]
    assert (done.status, done.request_counts.total) == ("cancelled", knobs.LINES)
    assert len(lines) == len({line["custom_id"] for line in lines}) == done.request_counts.completed
    assert cost == ledger
    tell(f"batch of {knobs.LINES:,} lines, cancelled midway: {len(lines):,} answered for {cost} USD,")
    tell(f"  ended {seconds:.1f} s after it was told to")
    tell(f"  {proof}")


def test_dispatch_beside_a_batch(durable_servers, tell):
    """How long a dispatch takes, and how long a quiet project's job waits for it, while lines are looked at and fed."""
    for name, is_apart in (("in the dispatcher's process", False), ("in a process of their own", True)):
        environment = {"BURSAR_LOG_LEVEL": "INFO"}
        setup = Setup(slots=400, projects=2, call_seconds=1.0, batches_apart=is_apart, environment=environment)
        with fleet(durable_servers, setup) as ours:
            client = openai.OpenAI(api_key=ours.keys["load-0"], base_url=f"{ours.address}/v1", timeout=600)
            _run(ours, client, WARM_UP)
            file = client.files.create(file=("requests.jsonl", _requests(knobs.LINES)), purpose="batch")
            quiet = ours.begin_submitting("load-1", ours.body(), 100_000, per_second=4)
            alone, seen = _look(ours, 0, lambda: time.sleep(10))
            began = time.monotonic()
            beside, _ = _look(ours, seen, partial(_feed, ours, client, file.id))
            seconds = time.monotonic() - began
            quiet.process.terminate()
            quiet.process.communicate()
        tell(f"{knobs.LINES:,} lines looked at and fed {name}, in {seconds:.0f} s; median, p95 and longest, ms:")
        tell(f"  a dispatch {_spread(beside.dispatches)}, without the batch {_spread(alone.dispatches)}")
        tell(
            f"  a quiet project's job until dispatch {_spread(beside.waits)}, without the batch {_spread(alone.waits)}"
        )


def _feed(ours: Fleet, client: openai.OpenAI, file_id: str) -> None:
    """Returns when every line of a new batch has its job."""
    client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
    fed = "SELECT count(*) FROM jobs_batchline WHERE status <> 'waiting'"
    wanted, seconds = WARM_UP + knobs.LINES, 120 + knobs.LINES / 5
    ours.wait_until(lambda: ours.sql(fed)[0][0] >= wanted, "every line to be fed", seconds=seconds)


@dataclass(frozen=True)
class Look:
    """Milliseconds that dispatches took, and that jobs of the quiet project waited for one; the shortest first."""

    dispatches: list[float]
    waits: list[float]


def _look(ours: Fleet, seen: int, during: Callable[[], object]) -> tuple[Look, int]:
    """What was seen of the dispatcher meanwhile, and how much of its log there is now."""
    seen = seen or len(ours.log("control"))
    ((since,),) = ours.sql("SELECT clock_timestamp()")
    during()
    log = ours.log("control")
    dispatches = sorted(1000 * float(seconds) for seconds in DISPATCHED.findall(log[seen:]))
    waits = ours.sql(
        "SELECT 1000 * extract(epoch FROM attempt.created_at - job.queued_at) FROM jobs_attempt attempt "
        "JOIN jobs_job job ON job.id = attempt.job_id JOIN accounts_project project ON project.id = job.project_id "
        "WHERE project.slug = 'load-1' AND job.queued_at > %s ORDER BY 1",
        since,
    )
    return Look(dispatches, [float(milliseconds) for (milliseconds,) in waits]), len(log)


def _spread(found: list[float]) -> str:
    return f"{found[len(found) // 2]:.0f} {found[int(len(found) * 0.95)]:.0f} {found[-1]:.0f} (of {len(found)})"


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
