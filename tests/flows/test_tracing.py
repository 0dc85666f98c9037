"""Traces: off unless asked for, and then by the conventions, without a word of prompt or answer."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import tracing
from jobs import execution
from jobs.execution import traces
from jobs.models import Job
from tests.api.conftest import PROMPT, client_of


@pytest.mark.skipif(tracing.missing is None, reason="the extra is installed")
def test_tracing_without_its_packages_says_what_to_install(settings):
    settings.TRACING = True
    with pytest.raises(ImproperlyConfigured, match="opentelemetry-exporter-otlp-proto-http"):
        tracing.start()


def test_tracing_that_nobody_asked_for_starts_nothing(settings, monkeypatch):
    monkeypatch.setattr(tracing, "missing", "opentelemetry")
    assert settings.TRACING is False
    tracing.start()
    with traces.call_span(None) as span:  # looks at nothing
        assert span is None
    traces.record(span, None)
    assert "config.tracing.TracingMiddleware" not in settings.MIDDLEWARE


@pytest.fixture
def spans(settings, monkeypatch):
    """What is exported, in memory."""
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    exporter = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider(id_generator=tracing.Ids())
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    monkeypatch.setattr(traces.trace, "get_tracer", provider.get_tracer)
    settings.TRACING = True
    settings.MIDDLEWARE = ["config.tracing.TracingMiddleware", *settings.MIDDLEWARE]
    return exporter.get_finished_spans


@pytest.fixture
def one_job(path, alice, settings, spans):
    """A job that was submitted over HTTP, and called: at the simulator, or where nobody listens."""
    caller = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}

    def run(*, base_url=settings.OPENAI_BASE_URL):
        body = {"model": "o1-mini", "prompt": PROMPT, "max_completion_tokens": 5000}
        response = client_of(alice).post("/api/v1/jobs", body, format="json", headers=caller)
        assert response.status_code == 202
        (attempt,) = path.dispatch()
        settings.OPENAI_BASE_URL = base_url
        execution.execute(attempt.pk, worker="tests")
        return Job.objects.get(pk=response.json()["id"])

    return run


def test_a_request_and_its_call_are_told_by_the_conventions(one_job, spans):
    job = one_job()
    request, call = spans()
    assert request.name == "POST /api/v1/jobs"
    assert f"{request.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert request.attributes["http.response.status_code"] == 202
    (link,) = request.links
    assert link.context.trace_id == call.context.trace_id == job.pk.int
    assert call.parent is None or not call.parent.is_valid
    assert call.name == "chat o1-mini"
    usage = job.usage
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "o1-mini",
        "gen_ai.request.max_tokens": 5000,
        "gen_ai.response.model": job.snapshot,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "gen_ai.usage.reasoning.output_tokens": usage["completion_tokens_details"]["reasoning_tokens"],
        "server.address": "127.0.0.1",
        "bursar.job.id": str(job.pk),
    }
    assert {name: call.attributes[name] for name in expected} == expected
    assert PROMPT not in str([span.to_json() for span in spans()])


def test_a_call_that_failed_says_how_and_not_in_whose_words(one_job, spans):
    one_job(base_url="http://127.0.0.1:1/v1")
    call = spans()[-1]
    assert call.attributes["error.type"] == "connection_failed"
    assert call.status.status_code.name == "ERROR"
    assert call.status.description is None
