"""`manage.py export_spend`: what an organization spent, as a file."""

import os
import tempfile
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.audit import Who
from accounts.models import Organization
from billing.exports import audit, streams
from billing.exports.selection import Selection
from billing.exports.streams import Format

BAR = 30


class Command(BaseCommand):
    help = (
        "Writes what an organization spent into a file: one row a usage record (csv, parquet), or one a token meter "
        "and hour in the columns of FOCUS (focus, focus-parquet). The costs of all rows sum to the ledger. The file "
        "appears under its name when it is whole."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--organization", required=True, help="its slug")
        parser.add_argument("--from", dest="start", type=_day, required=True, help="first day, UTC: 2026-11-01")
        parser.add_argument("--to", dest="end", type=_day, required=True, help="the day after the last, UTC")
        parser.add_argument("--format", choices=[form.value for form in Format], default=Format.CSV.value)
        parser.add_argument("--output", type=Path, help="the file; by default named after what is in it")
        parser.add_argument(
            "--project", action="append", default=[], help="only the project with this slug; repeatable"
        )
        parser.add_argument("--team", action="append", default=[], help="only the team with this name; repeatable")
        parser.add_argument("--model", action="append", default=[], help="only calls of this model; repeatable")
        parser.add_argument("--force", action="store_true", help="write over a file that is there")

    def handle(self, *args: Any, **options: Any) -> None:
        selection, form = _selection(options), Format(options["format"])
        output: Path = options["output"] or Path(streams.file_name(selection, form))
        if output.exists() and not options["force"]:
            raise CommandError(f"{output} is there already; --force writes over it.")
        audit.note(selection, form, Who(name="manage.py export_spend"))
        progress = self._progress(selection, form)
        rows = 0
        with _whole_or_nothing(output) as file:
            for part in streams.parts(selection, form):
                file.write(part.content)
                rows += part.rows
                progress(rows)
        size = output.stat().st_size
        self.stdout.write(f"{output}: {rows:,} rows, {size:,} bytes")

    def _progress(self, selection: Selection, form: Format) -> Callable[[int], None]:
        """What shows how far the export is: a bar on stderr where that is a terminal, else nothing."""
        if not self.stderr.isatty():
            return lambda rows: None
        whole = streams.count(selection, form)

        def show(rows: int) -> None:
            percent = 100 * rows // whole if whole else 100
            bar = "#" * (BAR * percent // 100)
            end = "\n" if rows >= whole else ""
            self.stderr.write(f"\r[{bar:<{BAR}}] {percent:3}% {rows:,} of {whole:,} rows", ending=end, style_func=str)
            self.stderr.flush()

        return show


@contextmanager
def _whole_or_nothing(output: Path) -> Iterator[IO[bytes]]:
    """A file beside the wanted one that takes its name at the end, and is gone where something went wrong."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    except OSError as error:
        raise CommandError(f"{output} cannot be written: {error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(name, output)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _selection(options: dict[str, Any]) -> Selection:
    """What was asked for. Raises CommandError where a name is not known."""
    if options["start"] >= options["end"]:
        raise CommandError("--to is exclusive and comes after --from.")
    organization = Organization.objects.filter(slug=options["organization"]).first()
    if organization is None:
        raise CommandError(f"There is no organization '{options['organization']}'.")
    projects = dict(organization.projects.filter(slug__in=options["project"]).values_list("slug", "pk"))
    teams = dict(organization.teams.filter(name__in=options["team"]).values_list("name", "pk"))
    for what, wanted, found in (("project", options["project"], projects), ("team", options["team"], teams)):
        unknown = sorted(set(wanted) - set(found))
        if unknown:
            raise CommandError(f"The organization '{organization.slug}' has no {what} '{unknown[0]}'.")
    return Selection(
        organization,
        options["start"],
        options["end"],
        projects=list(projects.values()) if projects else None,
        teams=list(teams.values()),
        models=options["model"],
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"'{text}' is no day; write it as 2026-11-22") from error
