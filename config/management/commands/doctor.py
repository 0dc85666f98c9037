"""`manage.py doctor`: looks a deployment over, and says what is wrong with it and how to mend that."""

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from config import doctor
from config.doctor import Finding, Level


class Command(BaseCommand):
    help = (
        "Looks over settings, PostgreSQL, Redis, Celery, workers, provider and catalogue, and changes nothing. "
        "Exits with 1 if anything fails. Run it where Bursar runs, with the same environment."
    )
    # It tells of migrations that are missing, and of a database that is.
    requires_migrations_checks = False
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="a list of findings, for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        found = doctor.examine()
        if options["json"]:
            self.stdout.write(json.dumps([{"check": name, **asdict(finding)} for name, finding in found], indent=2))
        else:
            self._write_table(found)
        if any(finding.level is Level.FAIL for _, finding in found):
            sys.exit(1)

    def _write_table(self, found: list[tuple[str, Finding]]) -> None:
        styles = {Level.OK: self.style.SUCCESS, Level.WARN: self.style.WARNING, Level.FAIL: self.style.ERROR}
        width = max(len(name) for name, _ in found)
        for name, finding in found:
            self.stdout.write(f"{styles[finding.level](f'{finding.level:4}')}  {name:{width}}  {finding.found}")
            if finding.remedy:
                self.stdout.write(f"{'':4}  {'':{width}}  -> {finding.remedy}")
        counts = {level: sum(finding.level is level for _, finding in found) for level in Level}
        self.stdout.write(", ".join(f"{count} {level}" for level, count in counts.items()))
