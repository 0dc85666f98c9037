"""OpenTelemetry, where BURSAR_OTEL asks for it: spans of requests and calls, sent by OTLP over HTTP.

The packages are an extra (`pip install bursar[otel]`); without BURSAR_OTEL they are neither needed nor used.
"""

from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse

from config.metrics.processes import VERSION
from jobs.execution import traces

try:
    from opentelemetry import propagate, trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
except ImportError as error:
    missing: str | None = error.name
    RandomIdGenerator = object
else:
    missing = None

SUBMISSIONS = "/api/v1/jobs"


class Ids(RandomIdGenerator):
    """Random, but for traces of jobs, which have the job's id (its last 62 bits are random, too)."""

    def generate_trace_id(self) -> int:
        chosen = traces.next_trace_id.get()
        return int(super().generate_trace_id()) if chosen is None else chosen


def start() -> None:
    """Called once by each web process and worker.

    Raises ImproperlyConfigured where tracing is asked for and a package is missing.
    """
    if not settings.TRACING:
        return
    if missing is not None:
        raise ImproperlyConfigured(
            f"BURSAR_OTEL is set and the package {missing} is not installed: install opentelemetry-sdk and "
            "opentelemetry-exporter-otlp-proto-http (`pip install bursar[otel]`), or unset BURSAR_OTEL."
        )
    process = settings.DATABASES["default"]["OPTIONS"]["application_name"]
    resource = Resource.create({"service.name": "bursar", "service.version": VERSION, "bursar.process": process})
    provider = TracerProvider(resource=resource, id_generator=Ids())
    exporter = OTLPSpanExporter(endpoint=f"{settings.OTLP_ENDPOINT.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


class TracingMiddleware:
    """A span for each request, in the trace of its `traceparent`. It is in the settings only where tracing is on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with trace.get_tracer(traces.TRACER).start_as_current_span(
            str(request.method), context=propagate.extract(request.headers), kind=trace.SpanKind.SERVER
        ) as span:
            response = self.get_response(request)
            if request.resolver_match is not None:
                route = f"/{request.resolver_match.route}"
                span.update_name(f"{request.method} {route}")
                span.set_attribute("http.route", route)
            span.set_attributes(
                {
                    "http.request.method": str(request.method),
                    "http.response.status_code": response.status_code,
                    "bursar.request.id": response.get("X-Request-Id", ""),
                }
            )
            _link(request, response, span)
            return response


def _link(request: HttpRequest, response: HttpResponse, span: object) -> None:
    if request.method == "POST" and request.path == SUBMISSIONS and response.status_code == 202:
        traces.link_to_job(span, UUID(response["Location"].rpartition("/")[2]))
