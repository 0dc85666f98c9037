"""`manage.py demo`.

The four calls of the o1 launch go through a running Bursar, and every sum is compared to the last digit.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx2
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Sum
from django.utils import timezone

from accounts.bootstrap import Start, bootstrap
from billing.models import LedgerEntry, SpendRollup, UsageRecord
from billing.money import usd
from jobs.models import Attempt

PROMPT = (
    "Write a Python script that takes a matrix represented as a string with format '[1,2],[3,4],[5,6]' and prints the "
    "transpose in the same format."
)
CONCISE = PROMPT + " Limit yourself to the answer and don't add explanations or introductions."
SEPTEMBER_2024 = date(2024, 9, 30)
PATIENCE_SECONDS = 90.0


@dataclass(frozen=True)
class Call:
    """One of the four calls, and what it is known to take and cost (OpenAI o1 API tutorial, September 2024)."""

    title: str
    body: dict[str, Any]
    tokens: tuple[int, int, int]  # prompt, completion, reasoning
    cost_usd: Decimal


CALLS = (
    Call(
        "o1-preview",
        {"model": "o1-preview", "prompt": PROMPT},
        (43, 1279, 1024),
        Decimal("0.077385"),
    ),
    Call(
        "o1-preview, cap 300",
        {"model": "o1-preview", "prompt": PROMPT, "max_completion_tokens": 300},
        (43, 300, 300),
        Decimal("0.018645"),
    ),
    Call("o1-mini", {"model": "o1-mini", "prompt": PROMPT}, (43, 1511, 256), Decimal("0.018261")),
    Call("o1-mini, answer only", {"model": "o1-mini", "prompt": CONCISE}, (55, 487, 320), Decimal("0.006009")),
)


class Command(BaseCommand):
    help = (
        "Submits the four calls of the o1 launch to a running Bursar over HTTP, waits for them, and shows tokens, "
        "reasoning and cost; then compares the sums of the API, the ledger, the usage records, the rollup and the "
        "simulator's own bill. Each run works in a new organization. Exits with 1 if a single digit differs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--base-url", default="http://127.0.0.1:8000", help="where Bursar runs (default: %(default)s)"
        )
        parser.add_argument("--owner-email", default="owner@example.com", help="who owns the new organization")
        # `make demo` hands its credentials to every command; this one makes an organization of its own.
        parser.add_argument("--credentials-file", help="not needed here")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.PROVIDER_IS_SIMULATOR:
            raise CommandError(
                "The demo compares against the simulator's bill and the provider is another one. `make demo` starts "
                "the simulator."
            )
        start = _new_organization(options["owner_email"])
        self.stdout.write(f"\nOrganization '{start.organization.name}': usage tier 5 on the terms of {SEPTEMBER_2024}.")
        with httpx2.Client(
            base_url=options["base_url"],
            headers={"Authorization": f"Bearer {start.api_key_secret}"},
            timeout=30,
            trust_env=False,
        ) as api:
            jobs = self._submit(api)
            finished = self._wait(api, jobs)
            self._show_calls(finished)
            month = _json(api.get("/api/v1/spend"))
            limits = _json(api.get("/api/v1/limits"))
        wrong = _differences(finished) + self._show_sums(start, finished, month, limits)
        for line in wrong:
            self.stderr.write(self.style.ERROR(line))
        if wrong:
            raise CommandError("The sums above differ.")
        self.stdout.write(self.style.SUCCESS("All sums are equal to the last digit."))
        self.stdout.write(
            f"\nSpend review in the admin: {options['base_url']}/admin/billing/spend/ (while `make up` runs)\n"
        )

    def _submit(self, api: httpx2.Client) -> list[str]:
        self.stdout.write("\nSubmitting four jobs to POST /api/v1/jobs")
        ids = []
        for call in CALLS:
            job = _json(api.post("/api/v1/jobs", json=call.body, headers={"Idempotency-Key": f"demo-{time.time_ns()}"}))
            self.stdout.write(
                f"  {call.title:<22} {job['status']}, costs at most ${job['bound']['cost_usd']}   {job['id']}"
            )
            ids.append(job["id"])
        return ids

    def _wait(self, api: httpx2.Client, ids: list[str]) -> list[dict[str, Any]]:
        """The finished jobs, with a line of progress whenever something changes."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        shown = ""
        while True:
            jobs = [_json(api.get(f"/api/v1/jobs/{job_id}")) for job_id in ids]
            states = "  ".join(f"{call.title}: {job['status']}" for call, job in zip(CALLS, jobs, strict=True))
            if states != shown:
                self.stdout.write(f"  {states}")
                sys.stdout.flush()
                shown = states
            if all(job["finished_at"] for job in jobs):
                return jobs
            if time.monotonic() > give_up_at:
                raise CommandError(
                    f"Not finished after {PATIENCE_SECONDS:.0f} s; the jobs wait on "
                    f"{[job['waiting_on'] for job in jobs]}. See the logs in {settings.VAR_DIR / 'log'}."
                )
            time.sleep(0.2)

    def _show_calls(self, jobs: list[dict[str, Any]]) -> None:
        columns = "  {:<22} {:>7} {:>11} {:>10} {:>7} {:>11}  {}"
        head = columns.format("call", "prompt", "completion", "reasoning", "share", "cost USD", "outcome")
        self.stdout.write(f"\n{head}\n  {'-' * (len(head) + 12)}")
        for call, job in zip(CALLS, jobs, strict=True):
            prompt, completion, reasoning = _tokens(job)
            outcome = job["status"] + (" - EMPTY, and paid for" if job["warnings"] else "")
            share = f"{Decimal(job['reasoning_share']) * 100:.0f} %"
            self.stdout.write(
                columns.format(call.title, prompt, completion, reasoning, share, job["cost"]["total_usd"], outcome)
            )

    def _show_sums(
        self, start: Start, jobs: list[dict[str, Any]], month: dict[str, Any], limits: dict[str, Any]
    ) -> list[str]:
        """Prints each sum beside the budget's figures; returns a line for each that is not the expected one."""
        expected = sum((call.cost_usd for call in CALLS), Decimal(0))
        self.stdout.write("\n  This month against the limit")
        for budget in limits["budgets"]:
            self.stdout.write(
                f"    {budget['scope']:<13} spent ${budget['spent']}  held ${budget['held']}  "
                f"of ${Decimal(budget['limit']):,.2f} ({budget['origin']})"
            )
        self.stdout.write("\n  The same sum, from every book")
        sums = dict(_sums(start, jobs, month))
        sums |= {f"budget of the {b['scope']}": Decimal(b["spent"]) for b in limits["budgets"]}
        for name, amount in sums.items():
            self.stdout.write(f"    {name:<28} ${amount:.6f}")
        wrong = [
            f"{name} says ${usd(amount)}, not ${usd(expected)}" for name, amount in sums.items() if amount != expected
        ]
        if any(Decimal(budget["held"]) for budget in limits["budgets"]):
            wrong.append("A hold was left behind.")
        return wrong


def _new_organization(owner_email: str) -> Start:
    now = timezone.now()
    return bootstrap(
        name=f"Demo of {now:%d %b %Y %H:%M:%S} UTC",
        slug=f"demo-{now:%Y%m%d-%H%M%S-%f}",
        owner_email=owner_email,
        terms_on=SEPTEMBER_2024,
        now=now,
    )


def _tokens(job: dict[str, Any]) -> tuple[int, int, int]:
    usage = job["usage"]
    return (
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["completion_tokens_details"]["reasoning_tokens"],
    )


def _differences(jobs: list[dict[str, Any]]) -> list[str]:
    """A line for each call that did not come out as it is known to."""
    wrong = []
    for call, job in zip(CALLS, jobs, strict=True):
        if job["usage"] is None:
            wrong.append(f"{call.title}: {job['status']}, {job['error']}")
        elif _tokens(job) != call.tokens or Decimal(job["cost"]["total_usd"]) != call.cost_usd:
            wrong.append(f"{call.title}: expected tokens {call.tokens} and ${call.cost_usd}")
    return wrong


def _sums(start: Start, jobs: list[dict[str, Any]], month: dict[str, Any]) -> Iterator[tuple[str, Decimal]]:
    """What each book says this organization has spent."""
    own = {"organization_id": start.organization.pk}
    yield "jobs, by the API", sum((Decimal(job["cost"]["total_usd"]) for job in jobs), Decimal(0))
    yield "month's spend, by the API", Decimal(month["total"]["cost"]["total_usd"])
    yield "ledger", _sum(LedgerEntry.objects.filter(**own).aggregate, "spent_change_usd")
    yield "usage records", _sum(UsageRecord.objects.filter(**own).aggregate, "total_usd")
    yield "rollup", _sum(SpendRollup.objects.filter(**own).aggregate, "total_usd")
    yield "simulator's own bill", _billed([UUID(job["id"]) for job in jobs])


def _sum(aggregate: Callable[..., dict[str, Any]], column: str) -> Decimal:
    return aggregate(total=Sum(column))["total"] or Decimal(0)


def _billed(job_ids: list[UUID]) -> Decimal:
    """What the provider billed for the attempts of these jobs."""
    attempts = {str(pk) for pk in Attempt.objects.filter(job_id__in=job_ids).values_list("pk", flat=True)}
    address = settings.OPENAI_BASE_URL.removesuffix("/v1") + "/simulator/bill?lines=1"
    with httpx2.Client(timeout=30, trust_env=False) as client:
        lines = _json(client.get(address))["lines"]
    return sum((Decimal(line["cost_usd"]) for line in lines if line["client_request_id"] in attempts), Decimal(0))


def _json(response: httpx2.Response) -> dict[str, Any]:
    if response.is_error:
        raise CommandError(
            f"{response.request.method} {response.request.url} answered {response.status_code}: {response.text}"
        )
    body: dict[str, Any] = response.json()
    return body
