"""Figures for Prometheus and for autoscalers: `/metrics`, in the text format that both read."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from billing.clock import database_now
from jobs.demand import demand

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Call slots: how many there are, are in use, and are wanted. Sums over all organizations; no names, no money."""
    found = demand(database_now())
    gauges = (
        ("bursar_call_workers", "Worker processes that take calls.", found.workers),
        ("bursar_call_slots", "Calls that those workers hold at once.", found.slots),
        ("bursar_calls_in_flight", "Calls that are under way or about to be.", found.in_flight),
        (
            "bursar_call_slots_wanted",
            "Slots that would be in use if there were enough: calls in flight and jobs that wait for a slot alone.",
            found.wanted,
        ),
    )
    text = "".join(f"# HELP {name} {told}\n# TYPE {name} gauge\n{name} {value}\n" for name, told, value in gauges)
    return HttpResponse(text, content_type=CONTENT_TYPE)
