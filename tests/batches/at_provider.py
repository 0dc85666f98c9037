"""What tests of batches at the provider share: the same program, and the work of the beat, however soon."""

from decimal import Decimal
from typing import Any

from django.db.models import Sum

from billing.models import Budget, LedgerEntry
from jobs.models import Attempt
from tests.batches.conftest import Batches, file_of, request

# Of September 2024, when it had batches and a price of them.
MODEL = "gpt-4o-mini"


def line(custom_id: str, **body: Any) -> dict[str, Any]:
    return request(custom_id, **{"model": MODEL, "max_completion_tokens": 500, **body})


def lines(count: int, **body: Any) -> bytes:
    return file_of(*(line(f"line {number}", **body) for number in range(count)))


def spent() -> Decimal:
    return LedgerEntry.objects.aggregate(spent=Sum("spent_change_usd"))["spent"] or Decimal(0)


def held() -> Decimal:
    return sum(Budget.objects.values_list("held", flat=True), Decimal(0))


def names(count: int) -> list[str]:
    return [f"line {number}" for number in range(count)]


def billed(simulator: Any) -> list[dict[str, Any]]:
    """The bill's lines of our attempts."""
    attempts = {str(pk) for pk in Attempt.objects.values_list("pk", flat=True)}
    return [one for one in simulator.bill(lines=True)["lines"] if one["client_request_id"] in attempts]


def cost_of(simulator: Any) -> Decimal:
    return sum((Decimal(one["cost_usd"]) for one in billed(simulator)), Decimal(0))


def in_both_files(batches: Batches, done: Any) -> list[str]:
    """The custom ids of every line of both files."""
    return [one["custom_id"] for file in (done.output_file_id, done.error_file_id) for one in batches.lines(file)]
