"""A span for each call of the provider, by OpenTelemetry's conventions for generative AI. Never a prompt or an answer.

The trace of a job has the job's own id: whoever has one of them has the other, and nothing needs to be carried from the
request to the worker. Without `BURSAR_OTEL`, or without the packages, all of this does nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

from jobs.execution.claims import Call
from jobs.provider import Answer, Rejected, Uncertain, Unreachable
from jobs.responses import Accepted

try:
    from opentelemetry import trace
except ImportError:  # an extra: pip install bursar[otel]
    trace = None

TRACER = "bursar"
# The id that the next trace begins with, for the generator of ids (config.tracing).
next_trace_id: ContextVar[int | None] = ContextVar("next_trace_id", default=None)

_CAPS = ("max_completion_tokens", "max_tokens")


@contextmanager
def call_span(call: Call) -> Iterator[Any]:
    """The span of one call; None where none is made. It ends with the block."""
    if trace is None or not settings.TRACING:
        yield None
        return
    token = next_trace_id.set(call.job_id.int)
    try:
        span = trace.get_tracer(TRACER).start_span(
            f"chat {call.body.get('model', '')}",
            context=trace.set_span_in_context(trace.INVALID_SPAN),  # a trace of its own
            kind=trace.SpanKind.CLIENT,
            attributes=_of_request(call),
        )
    finally:
        next_trace_id.reset(token)
    with trace.use_span(span, end_on_exit=True):
        yield span


def record(span: Any, result: Answer | Accepted | Rejected | Unreachable | Uncertain) -> None:
    """Notes what came of a call on its span."""
    if span is None:
        return
    if isinstance(result, Answer):
        span.set_attributes(_of_answer(result))
        return
    if isinstance(result, Accepted):  # what it comes to is known to whoever looks at it later
        span.set_attribute("gen_ai.response.id", result.response_id)
        return
    match result:
        case Rejected():
            code, status = result.rejection.code or result.rejection.type, result.rejection.status
        case Uncertain():
            code, status = result.code, result.status or 0
        case Unreachable():
            code, status = "connection_failed", 0
    # The kind of error only: its words are the provider's, and may repeat what was sent.
    span.set_attribute("error.type", code or str(status))
    if status:
        span.set_attribute("http.response.status_code", status)
    span.set_status(trace.Status(trace.StatusCode.ERROR))


def link_to_job(span: Any, job_id: UUID) -> None:
    """Points from the span of a request to the trace of the job that it made."""
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    # Its first span is not made yet: the trace is what is pointed at.
    there = trace.SpanContext(job_id.int, job_id.int & (2**64 - 1), is_remote=True, trace_flags=flags)
    span.add_link(there, {"bursar.job.id": str(job_id)})
    span.set_attribute("bursar.job.id", str(job_id))


def _of_request(call: Call) -> dict[str, str | int]:
    address = urlsplit(call.access.base_url)
    found: dict[str, str | int | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": str(call.body.get("model", "")),
        "gen_ai.request.max_tokens": next((call.body[cap] for cap in _CAPS if call.body.get(cap)), None),
        "openai.request.service_tier": call.body.get("service_tier"),
        "server.address": address.hostname,
        "server.port": address.port or (443 if address.scheme == "https" else 80),
        "bursar.job.id": str(call.job_id),
        "bursar.attempt.id": str(call.attempt_id),
        "bursar.attempt.number": call.number,
        "bursar.project.id": str(call.project.pk),
        "bursar.organization.id": str(call.project.organization_id),
    }
    return {name: value for name, value in found.items() if value is not None}


def _of_answer(answer: Answer) -> dict[str, Any]:
    return {
        "gen_ai.response.id": answer.response_id,
        "gen_ai.response.model": answer.snapshot,
        "gen_ai.response.finish_reasons": [answer.finish_reason],
        # Reasoning is part of the output, and what the provider had cached is part of the input.
        "gen_ai.usage.input_tokens": answer.tokens.input,
        "gen_ai.usage.output_tokens": answer.tokens.output,
        "gen_ai.usage.reasoning.output_tokens": answer.tokens.reasoning,
        "gen_ai.usage.cache_read.input_tokens": answer.tokens.cached_input,
    }
