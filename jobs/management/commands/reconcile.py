"""`manage.py reconcile`: compares the books with the provider's bill, and says what differs."""

import sys
from datetime import date, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import Organization
from accounts.provider_accounts import ProviderAccount, account_of, every_account
from billing.clock import database_now
from billing.models import Origin
from billing.money import usd
from billing.reconciliation import decisions, runs
from billing.reconciliation.decisions import State
from jobs.credentials import admin_access_of
from jobs.reconciliation import NO_KEY, carry_out


class Command(BaseCommand):
    help = (
        "Fetches the provider's usage and costs and compares them with the usage records by day, project and model. "
        "Exits with 1 if a difference is open, or a bill could not be read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--organization", help="only the account of the organization with this slug")
        parser.add_argument("--from", dest="first_day", type=date.fromisoformat, help="first UTC day, as 2026-11-01")
        parser.add_argument("--to", dest="end_day", type=date.fromisoformat, help="the UTC day after the last")

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        accounts = self._accounts(options["organization"])
        if not accounts:
            raise CommandError(NO_KEY)
        for account in accounts:
            first, end = runs.due_days(account, database_now())
            first, end = options["first_day"] or first, options["end_day"] or end
            if first >= end:
                end = first + timedelta(days=1)
            wrong += self._reconcile(account, first, end)
        if wrong:
            sys.exit(1)

    def _accounts(self, slug: str | None) -> list[ProviderAccount]:
        if not slug:
            return [account for account in every_account() if admin_access_of(account)]
        organization = Organization.objects.filter(slug=slug).first()
        if organization is None:
            raise CommandError(f"There is no organization '{slug}'.")
        return [account_of(organization)]

    def _reconcile(self, account: ProviderAccount, first: date, end: date) -> int:
        """Writes what came out; returns how many things are open."""
        run = carry_out(runs.ask(account, Origin.COMMAND, first, end).pk)
        last = end - timedelta(days=1)
        if run.failure:
            self.stdout.write(self.style.ERROR(f"{account}, {first} to {last}: {run.failure}"))
            return 1
        lines = list(run.lines.all())
        standings = decisions.standings(lines)
        ours, theirs = (sum(getattr(line, name) for line in lines) for name in ("ours_usd", "theirs_usd"))
        self.stdout.write(f"{account}, {first} to {last}: ours {usd(ours)} USD, theirs {usd(theirs)} USD")
        for line in lines:
            state = standings[line.pk].state
            if state != State.AGREES:
                where = line.provider_project or "no project named"
                told = f"  {line.day} {where} {line.model}: {line.get_kind_display()}, {usd(line.difference_usd)} USD"
                told += f" ({state}). {line.detail}"
                self.stdout.write(self.style.ERROR(told) if state == State.OPEN else told)
        return sum(standing.state == State.OPEN for standing in standings.values())
