"""A process dies while the provider works: nothing is lost, and nothing is paid for twice."""

import threading
from collections.abc import Iterator
from decimal import Decimal
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.core.wsgi import get_wsgi_application
from django.db import transaction

from billing.models import Budget, Reservation, UsageRecord
from jobs import dispatch, limiter
from jobs.background import looking
from jobs.models import Attempt, Job
from jobs.submission import Submission, submit
from jobs.validation import PromptRequest
from tests.flows.processes import eventually, worker

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture(autouse=True)
def _empty_broker(slots) -> None:
    limiter.connection().flushdb()
    limiter.connection().set(limiter.BORN_KEY, "0.000")


def test_a_worker_killed_after_the_id_was_stored_loses_nothing(alice, simulator):
    with transaction.atomic():
        job = submit(alice.api_key.api_key, Submission(PromptRequest("o3", [{"role": "user", "content": "hello"}], {})))
    with worker("calls", simulator, BURSAR_CRASH_AT="accepted=pause") as doomed:
        dispatch.dispatch()
        eventually(lambda: Attempt.objects.filter(status="accepted").exists())
        doomed.kill()
        doomed.wait()
    assert Reservation.objects.get().status == "open"

    def is_finished() -> bool:
        looking.look()
        return Job.objects.get().status == "succeeded"

    eventually(is_finished)
    (line,) = simulator.bill(lines=True, bursar_attempt=str(job.attempts.get().pk))["lines"]
    assert UsageRecord.objects.get().total_usd == Decimal(line["cost_usd"])
    assert job.attempts.count() == 1
    assert not Budget.objects.exclude(held=0).exists()


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    """Bursar's web process, as far as a webhook needs one; its address."""
    server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_id_that_died_with_its_worker_is_found_again_by_the_providers_webhook(alice, simulator, web, settings):
    secret = "whsec_c2VjcmV0IG9mIGEgdGVzdA=="
    settings.PROVIDER_WEBHOOK_SECRETS = [secret]
    simulator.set_webhook(f"{web}/webhooks/openai", secret)
    with transaction.atomic():
        submit(alice.api_key.api_key, Submission(PromptRequest("o3", [{"role": "user", "content": "hello"}], {})))
    with worker("control", simulator), worker("calls", simulator, BURSAR_CRASH_AT="answered=pause") as doomed:
        dispatch.dispatch()
        # The work was accepted and has ended, and its worker stands still with the id in hand.
        eventually(lambda: Attempt.objects.exclude(provider_response_id="").exists())
        doomed.kill()
        doomed.wait()

        def is_finished() -> bool:
            looking.look()
            return Job.objects.get().status == "succeeded"

        eventually(is_finished)
    simulator.set_webhook()
    assert UsageRecord.objects.count() == 1
    assert Attempt.objects.get().status == "answered"
    assert not Budget.objects.exclude(held=0).exists()
