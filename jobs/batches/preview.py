"""What a batch would cost, before it starts: at most, as expected, and if its answers were long.

The bound is a promise, as that of every job. The other two are guesses, by the output tokens of the project's own
answers of that model. The file is read line by line within the request: counting 50,000 prompts takes seconds, and so
there is nothing to store, to poll for, or to be out of date. Tokens are added up first, and priced at the end.
"""

from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import ceil
from typing import Any

from django.db import connection

from accounts.errors import DomainError
from accounts.models import ApiKey, Project
from billing.amounts import Amounts, at_most
from billing.budgets import owner_of, states_of
from billing.clock import database_now
from billing.limits import BudgetState
from billing.models import ServiceTier
from billing.money import usd
from billing.pricing import PriceTerms, bound_usd
from jobs import submission
from jobs.batches.at_provider import figures
from jobs.batches.checking import Checker
from jobs.batches.lines import LineFault, RawLine, Request, raw_lines, read_request
from jobs.batches.validating import MOST_LINES, Fault, fault, longest_line
from jobs.catalogue import CatalogueEntry
from jobs.estimates import most_output
from jobs.models import File
from jobs.submission import Submission

# Guesses are made by the latest answers of a model, among so many of the project's latest jobs. Fewer than the least
# say nothing of the next ones.
HISTORY_JOBS, HISTORY_MOST, HISTORY_LEAST = 20_000, 1000, 10
MOST_FAULTS = 10
# Lines that are looked at between two signs of life.
LINES_AT_ONCE = 100
_HISTORY = """
    SELECT count(*), ceil(avg(tokens)), percentile_disc(0.9) WITHIN GROUP (ORDER BY tokens) FROM (
        SELECT COALESCE(usage->>'completion_tokens', usage->>'output_tokens')::bigint AS tokens
        FROM (SELECT id, model, usage FROM jobs_job WHERE project_id = %s ORDER BY id DESC LIMIT %s) recent
        WHERE model = %s AND usage IS NOT NULL ORDER BY id DESC LIMIT %s
    ) answers WHERE tokens IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class History:
    """How long a model's answers to a project were, reasoning included."""

    jobs: int
    mean_output_tokens: int
    p90_output_tokens: int


@dataclass(slots=True)
class Sum:
    """What requests come to together."""

    input_tokens: int = 0
    output_tokens: int = 0
    usd: Decimal = Decimal(0)

    def add(self, input_tokens: int, output_tokens: int, price: PriceTerms) -> None:
        """Adds tokens at a price. Amounts are exact, so that tokens may be added up first."""
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.usd += bound_usd(input_tokens=input_tokens, output_tokens=output_tokens, price=price)

    def amounts(self, jobs: int) -> Amounts:
        """In every measure that a limit may count."""
        most = at_most(self.usd, input_tokens=self.input_tokens, output_tokens=self.output_tokens)
        return Amounts(most.usd, most.tokens, most.output_tokens, most.reasoning_tokens, jobs)

    def as_sent(self) -> dict[str, Any]:
        return {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens, "cost_usd": usd(self.usd)}


@dataclass(slots=True)
class Tokens:
    """What the requests of one model and service tier come to in tokens; all of them have one price."""

    price: PriceTerms
    history: History | None
    requests: int = 0
    input: int = 0
    output: int = 0
    expected_output: int = 0
    p90_output: int = 0

    def add(self, input_tokens: int, output_tokens: int) -> None:
        """Adds the bounds of one request."""
        self.requests += 1
        self.input += input_tokens
        self.output += output_tokens
        if self.history is not None:
            self.expected_output += min(self.history.mean_output_tokens, output_tokens)
            self.p90_output += min(self.history.p90_output_tokens, output_tokens)


class Preview:
    """Sums over the lines of a file that would become jobs, and the faults of those that would not."""

    def __init__(self, key: ApiKey, now: datetime):
        self.key, self.now = key, now
        self.histories: dict[str, History | None] = {}
        self.refused = 0
        self.faults: list[Fault] = []
        self._checker = Checker(key.project, now)
        self._tokens: dict[tuple[str, ServiceTier], Tokens] = {}

    def look_at(self, line: RawLine, number: int) -> None:
        """Adds one line."""
        try:
            if line.text is None:
                message = f"This line has {line.length:,} bytes; one request may have {longest_line():,}."
                raise LineFault(message, code="line_too_long")
            self._add(read_request(line.text))
        except DomainError as error:
            self.refused += 1
            if len(self.faults) < MOST_FAULTS:
                self.faults.append(fault(error.code, error.message, error.param, number))

    def _add(self, request: Request) -> None:
        prompt = request.prompt
        entry = self._checker.check(prompt)
        found = self._tokens.get((prompt.model, request.service_tier)) or self._begin(request, entry)
        size = submission.sized(prompt, entry)
        found.add(size.bound_tokens, most_output(prompt, max_output_tokens=entry.max_output_tokens))

    def _begin(self, request: Request, entry: CatalogueEntry) -> Tokens:
        """The tokens of a model and service tier of which no request was added yet. Raises UnknownPrice."""
        project, model = self.key.project, request.prompt.model
        wanted = Submission(request.prompt, service_tier=request.service_tier)
        price = submission.price_now(project.organization, wanted, entry, self.now)
        if model not in self.histories:
            self.histories[model] = history_of(project, model)
        found = self._tokens[model, request.service_tier] = Tokens(price, self.histories[model])
        return found

    @property
    def models(self) -> Counter[str]:
        """How many requests ask each model."""
        found: Counter[str] = Counter()
        for (model, _), tokens in self._tokens.items():
            found[model] += tokens.requests
        return +found

    def sums(self) -> tuple[Sum, Sum, Sum]:
        """At most, as expected, and if answers are long; the last two without models that have no history."""
        bound, expected, p90 = Sum(), Sum(), Sum()
        for tokens in self._tokens.values():
            bound.add(tokens.input, tokens.output, tokens.price)
            if tokens.history is not None:
                expected.add(tokens.input, tokens.expected_output, tokens.price)
                p90.add(tokens.input, tokens.p90_output, tokens.price)
        return bound, expected, p90


def preview(key: ApiKey, file: File) -> Generator[None, None, dict[str, Any]]:
    """The preview of a batch of this file, as it goes out: returned at the end of a generator that yields now and then,
    so that its caller can show meanwhile that it lives. Nothing is stored, and nothing is held.
    """
    found = Preview(key, database_now())
    number, requests = 0, 0
    for line in raw_lines(file, 0, longest=longest_line()):
        number += 1
        if number % LINES_AT_ONCE == 0:
            yield
        if line.is_empty:
            continue
        requests += 1
        if requests > MOST_LINES:
            message = f"The file holds more than {MOST_LINES:,} requests. Split it into several."
            found.faults = [fault("too_many_requests", message, None, number)]
            break
        found.look_at(line, number)
    return _as_sent(found, file, requests)


def history_of(project: Project, model: str) -> History | None:
    """What is known of a model's answers to a project; None where it is too little to guess by."""
    with connection.cursor() as cursor:
        cursor.execute(_HISTORY, [project.pk, HISTORY_JOBS, model, HISTORY_MOST])
        jobs, mean, p90 = cursor.fetchone()
    return History(jobs, ceil(mean), p90) if jobs >= HISTORY_LEAST else None


def _as_sent(found: Preview, file: File, requests: int) -> dict[str, Any]:
    models, (bound, expected, p90) = found.models, found.sums()
    # A sum over some of the lines would be no guess for all of them.
    is_known = bool(models) and all(found.histories[model] for model in models)
    limits = _limits(found, models, bound, expected if is_known else bound)
    return {
        "object": "batch.preview",
        "input_file_id": file.public_id,
        "requests": requests,
        "models": dict(models),
        "refused": {"count": found.refused, "errors": found.faults},
        "bound": bound.as_sent(),
        "expected": expected.as_sent() if is_known else None,
        "p90": p90.as_sent() if is_known else None,
        "history": {model: _told(found.histories[model]) for model in models},
        "at_provider": figures.previewed(
            found.key.project, list(models), found.now, bound, {"expected": expected, "p90": p90} if is_known else {}
        ),
        "limits": limits,
        # By what is expected where that is known: a bound is often many times what is spent in the end.
        "would_meet": next((limit for limit in limits if limit["is_hard"] and not limit["fits"]), None),
    }


def _told(history: History | None) -> dict[str, int] | None:
    if history is None:
        return None
    return {
        "jobs": history.jobs,
        "mean_output_tokens": history.mean_output_tokens,
        "p90_output_tokens": history.p90_output_tokens,
    }


def _limits(found: Preview, models: Counter[str], bound: Sum, guess: Sum) -> list[Mapping[str, Any]]:
    """Every limit that binds the batch, the fullest first as the batch would leave them."""
    jobs, model = models.total(), next(iter(models), None)
    told = []
    for state in states_of(owner_of(found.key, model), found.now):
        required = guess.amounts(jobs).of(state.limit.measure)
        most = bound.amounts(jobs).of(state.limit.measure)
        figures = {
            **state.describe(required),
            "fits": required <= state.remaining,
            "fits_at_most": most <= state.remaining,
        }
        told.append((_left(state, required), figures))
    return [figures for _, figures in sorted(told, key=lambda one: one[0])]


def _left(state: BudgetState, required: Decimal) -> Decimal:
    """What would be left of a limit, as a part of all of it."""
    return (state.remaining - required) / state.limit.amount if state.limit.amount else Decimal(-1)
