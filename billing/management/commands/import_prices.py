"""`manage.py import_prices`: what a price file would change, and with --apply the change."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.audit import command_line
from accounts.models import User
from billing import price_imports
from billing.money import usd
from billing.price_files import COLUMNS, MAX_BYTES, MAX_ROWS, PriceFileFaulty, PriceRow, read
from billing.price_imports import ImportRefused, Outcome, Plan, PreviewOutdated, Step


class Command(BaseCommand):
    help = (
        "Shows what a price file would change, and changes it with --apply: all of it or nothing. The file is CSV with "
        f"the header {','.join(COLUMNS)}, or a JSON list of such objects; at most {MAX_ROWS:,} prices and "
        f"{MAX_BYTES:,} bytes, UTF-8. Prices are US dollars per million tokens. A price that was used is never "
        "rewritten: give the new figures a later effective_from."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the price file")
        parser.add_argument("--apply", action="store_true", help="do what the preview shows")
        parser.add_argument("--digest", help="apply only if the preview still has this digest")
        parser.add_argument("--actor", metavar="EMAIL", help="whom the history of each price shall name")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = _read(options["file"])
        actor = _actor(options["actor"])
        plan = price_imports.preview(rows)
        for step in plan.steps:
            self.stdout.write(_line(step))
        counts = ", ".join(f"{count} {outcome}" for outcome, count in plan.counts.items())
        self.stdout.write(f"\n{counts}.")
        if not options["apply"]:
            self.stdout.write(f"Nothing was changed. Digest of this preview: {plan.digest}")
            return
        digest = options["digest"] or plan.digest
        try:
            price_imports.apply(rows, digest, actor=actor, origin=options["file"].name, by=command_line())
        except (PreviewOutdated, ImportRefused) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(self.style.SUCCESS("Applied: " + _done(plan)))


def _read(path: Path) -> list[PriceRow]:
    try:
        return read(path.read_bytes())
    except PriceFileFaulty as error:
        raise CommandError(f"{path} has {len(error.faults)} faults; nothing was changed.\n{error}") from error
    except OSError as error:
        raise CommandError(f"{path} could not be read: {error.strerror}") from error


def _actor(email: str | None) -> User | None:
    if email is None:
        return None
    actor = User.objects.filter(email=email.strip().lower(), is_active=True).first()
    if actor is None:
        raise CommandError(f"There is no active user '{email}'.")
    return actor


def _line(step: Step) -> str:
    """One line of the preview: 'new        o1 flex from 2026-12-01: input 7.50 (-50.0 %), ...'."""
    row = step.row
    names = ("input", "cached input", "output", "to the cache")
    figures = ", ".join(
        f"{name} {usd(becomes)}" + ("" if change is None else f" ({change:+} %)")
        for name, (_, becomes, change) in zip(names, step.compared, strict=True)
    )
    until = f" until {step.until}" if step.until else ""
    after = f", after the price from {step.predecessor.effective_from}" if step.predecessor else ""
    note = f"\n           line {row.line}: {step.note}" if step.note else ""
    return f"{step.outcome:<10} {row.model} {row.service_tier} from {row.effective_from}{until}: {figures}{after}{note}"


def _done(plan: Plan) -> str:
    return f"{plan.counts[Outcome.NEW]} added, {plan.counts[Outcome.CHANGED]} replaced."
