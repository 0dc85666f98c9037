"""A worker that takes no messages any more is found and ends; one whose broker stumbles goes on."""

from types import SimpleNamespace

import pytest
from celery import current_app

from config import consuming
from jobs import limiter
from tests.flows.processes import eventually, worker

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

# It makes no calls.
NO_PROVIDER = SimpleNamespace(base_url="http://127.0.0.1:1/v1")


@pytest.fixture
def alive_file(tmp_path):
    return tmp_path / "alive"


def hears_itself_again(file) -> None:
    before = file.stat().st_mtime_ns
    eventually(lambda: file.stat().st_mtime_ns > before)


def cut_connections() -> None:
    """All to our database; other tests may be at work on other ones of the same server."""
    redis = limiter.connection()
    ours = str(redis.connection_pool.connection_kwargs.get("db", 0))
    for client in redis.client_list():
        if client["db"] == ours and int(client["id"]) != redis.client_id():
            redis.client_kill_filter(_id=client["id"])


def test_a_worker_goes_on_through_a_broker_that_stumbles_and_ends_when_it_is_deaf(alive_file):
    with worker("control", NO_PROVIDER, BURSAR_ALIVE_FILE=str(alive_file)) as process:
        eventually(alive_file.exists)
        queues = active_queues()
        for _ in range(3):
            cut_connections()
            hears_itself_again(alive_file)
        limiter.connection().flushdb()
        hears_itself_again(alive_file)
        assert process.poll() is None

        # Connected and alive, and consuming nothing: as in celery issue 8030.
        with current_app.connection_for_write() as ours:  # those of before were killed above
            for queue in queues:
                current_app.control.cancel_consumer(queue, connection=ours)
        eventually(lambda: process.poll() is not None)
        assert process.returncode == consuming.EXIT_CODE


def active_queues() -> set[str]:
    """Those that the one worker there is consumes."""
    (queues,) = current_app.control.inspect(timeout=5.0).active_queues().values()
    return {queue["name"] for queue in queues}
