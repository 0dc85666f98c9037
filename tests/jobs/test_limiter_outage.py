"""What the limiter gives while its Redis stands still, is emptied or dies: on a Valkey of this test's own.

The judge is the provider's own bucket, full when the first turn is given. What stood unused while nobody could ask may
be used afterwards, as the provider lets anybody.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import unpack_from
from threading import Event

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.models import RateLimit
from config.embedded import valkey
from config.embedded.ports import free_port
from config.simulator.limiter import Bucket as Judge
from jobs import limiter
from jobs.limiter import Asking, Go, LimiterAway
from jobs.limiter.buckets import MINUTE_MS
from tests.jobs.limiter_world import SOURCES

LIMIT = 12_000
CLIENTS = 4
BATCH = 10
STOPPED_SECONDS = float(os.environ.get("BURSAR_TESTS_STOPPED_SECONDS", "5"))


class OwnValkey:
    """A server that writes its file every second, as in production."""

    def __init__(self, folder: Path) -> None:
        self.server = valkey.prepare(folder, free_port(), "password-of-this-test", durable=True)
        self.client = redis.Redis.from_url(
            self.server.url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1)
        )
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.server.program.command, stdout=subprocess.DEVNULL)
        while not self.server.program.ready(self.process.pid):
            assert self.process.poll() is None
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def own(tmp_path, monkeypatch) -> Iterator[OwnValkey]:
    server = OwnValkey(tmp_path / "valkey")
    monkeypatch.setattr(limiter, "connection", lambda: server.client)
    yield server
    server.stop()


def flood(trouble: Callable[[], None]) -> tuple[list[int], int]:
    """The instants (us) of the turns that a flood was given before, during and after some trouble; and how often it
    was told that the limiter is away."""
    asking = Asking("one", "o1-mini", RateLimit(requests_per_minute=LIMIT), 1, use_headroom=True, horizon_seconds=1.0)
    over = Event()

    def client() -> tuple[list[int], int]:
        starts, away = [], 0
        while not over.is_set():
            try:
                got = [a for a in limiter.admit_all([asking] * BATCH) if isinstance(a, Go)]
            except LimiterAway:
                away += 1
                continue
            starts += [admission.turn.instants_us[1] for admission in got]
            time.sleep(0.005 if got else 0.05)
        return starts, away

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client) for _ in range(CLIENTS)]
        time.sleep(2)
        trouble()
        time.sleep(2)
        over.set()
    told = [one.result() for one in clients]
    return sorted(start for starts, _ in told for start in starts), sum(away for _, away in told)


def refused(starts: list[int]) -> int:
    judge = Judge(LIMIT, scaled=LIMIT * 60 * 10**9, seen_at=starts[0] * 1000 - 60 * 10**9 // LIMIT)
    count = 0
    for start in starts:
        # A microsecond for the instants, which the script rounds down.
        count += judge.exceeds(1, start * 1000 + 1000)
        judge.take(1, start * 1000 + 1000)
    return count


def stopped(own: OwnValkey) -> None:
    own.process.send_signal(signal.SIGSTOP)
    time.sleep(STOPPED_SECONDS)
    own.process.send_signal(signal.SIGCONT)


def flushed(own: OwnValkey) -> None:
    own.client.flushall()


def killed(own: OwnValkey) -> None:
    own.stop()
    own.start()


@pytest.mark.parametrize("trouble", [stopped, flushed, killed])
def test_never_more_turns_than_the_provider_admits_whatever_happens_to_redis(own, trouble):
    starts, away = flood(lambda: trouble(own))
    assert refused(starts) == 0
    assert len(starts) > LIMIT / 60  # it went on
    seconds = (starts[-1] - starts[0]) / 1e6
    assert len(starts) <= LIMIT / 60 * seconds + 1
    assert (away > 0) == (trouble is not flushed)


def test_what_redis_executes_after_its_client_gave_up_is_lost_and_that_is_little(own):
    starts, away = flood(lambda: stopped(own))
    fields = own.client.hgetall(limiter._key("one", "o1-mini"))
    taken = limiter_taken(fields[b"requests_per_minute"])
    # What each client had sent when it gave up; it tries a connection that is silent once more.
    assert 0 < taken - len(starts) <= (2 * away + CLIENTS) * BATCH


def limiter_taken(field: bytes) -> int:
    return int(unpack_from(">d", field, 5 * 8)[0])


def test_without_its_guard_an_emptied_redis_would_let_a_burst_go(own, monkeypatch):
    for getter, name in SOURCES.items():
        script = limiter._Script(limiter._source(name).replace("made_now(limit, born", "made_now(0, born"))
        monkeypatch.setattr(limiter, getter, lambda script=script: script)
    starts, _ = flood(lambda: flushed(own))
    assert refused(starts) > 0


def test_turns_that_a_killed_worker_held_are_lost_for_a_minute_at_most(own):
    """Nobody gives them back; they drain as if their calls had been sent."""
    own.client.set(limiter.BORN_KEY, "0.000")
    limits = RateLimit(requests_per_minute=LIMIT)
    held = limiter.admit_all([Asking("one", "o1-mini", limits, 1, use_headroom=True)] * 1_000)
    assert sum(isinstance(admission, Go) for admission in held) == 1_000
    seconds, _ = limiter.room("one", "o1-mini", limits).earliest(requests=LIMIT - LIMIT // 60, tokens=0)
    assert 0 < seconds <= 1_000 * MINUTE_MS / 1000 / LIMIT
