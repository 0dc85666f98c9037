"""`manage.py seed_demo_data`: three invented organizations with half a year behind them."""

import secrets
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobs.demo_data.seeding import Seeded, free_suffix, seed, slugs_taken

WIDTH = 40


class Command(BaseCommand):
    help = (
        "Makes three invented organizations with half a year of jobs, spend, closed months, quotas, doubts and a bill "
        "that differs, and prints as whom to sign in. Their figures follow from --seed and the day. Run again it "
        "changes nothing; --again makes three more. No other organization is ever touched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--jobs", type=int, default=30_000, help="about so many in all (default: %(default)s)")
        parser.add_argument("--seed", type=int, default=1, help="another seed, other figures (default: %(default)s)")
        parser.add_argument("--password", help="of every person made (default: a random one, printed once)")
        parser.add_argument("--again", action="store_true", help="make three more, with other short names")

    def handle(self, *args: Any, **options: Any) -> None:
        there = slugs_taken()
        if there and not options["again"]:
            self.stdout.write(f"The demo data is there: {', '.join(each.slug for each in there)}.")
            self.stdout.write("Passwords are not shown again; --again makes three more organizations.")
            return
        if options["jobs"] < 1:
            raise CommandError("--jobs is at least 1.")
        password = options["password"] or secrets.token_urlsafe(12)
        bar = _Bar(options["jobs"])
        made = seed(
            jobs=options["jobs"],
            seed=options["seed"],
            password=password,
            suffix=free_suffix(),
            progress=bar.advance,
        )
        bar.end()
        self.stdout.write("\n".join(_told(made, password)))


class _Bar:
    """A line on a terminal's standard error that fills; nothing where nobody looks."""

    def __init__(self, total: int):
        self._total, self._done, self._is_seen = total, 0, sys.stderr.isatty()

    def advance(self, what: str, steps: int) -> None:
        self._done += steps
        if self._is_seen:
            part = min(1, self._done / self._total)
            full = "#" * int(WIDTH * part)
            print(f"\r[{full:<{WIDTH}}] {part:4.0%} {what:<24}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._is_seen:
            print("\r" + " " * (WIDTH + 40) + "\r", end="", file=sys.stderr, flush=True)


def _told(made: list[Seeded], password: str) -> list[str]:
    lines = []
    for each in made:
        lines.append(f"{each.organization.name} ({each.organization.slug}): {each.jobs:,} jobs")
        lines += [f"  {address:<44} {role}" for address, role in each.sign_ins]
    return [*lines, "", f"Password of all of them: {password}"]
