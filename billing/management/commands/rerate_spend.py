"""`manage.py rerate_spend`: what the calls of the past would have cost at other prices."""

import json
from argparse import ArgumentTypeError
from datetime import date
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import Organization, Project
from billing.models import ServiceTier
from billing.price_files import PriceFileFaulty, PriceRow, read
from billing.rerating import Report, Scenario, rerate
from billing.rerating_tables import as_json, as_table


class Command(BaseCommand):
    help = (
        "Says what an organization's calls would have cost in another scenario, by model and service tier, beside what "
        "they did cost. Changes nothing: the database is told to refuse writes meanwhile. Give at least one of "
        "--prices-of, --service-tier, --model and --price-file; several together are one scenario."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("organization", help="its slug")
        parser.add_argument("--project", help="only the project with this slug")
        parser.add_argument("--from", dest="start", type=_day, required=True, help="first day, UTC: 2026-11-01")
        parser.add_argument("--to", dest="end", type=_day, required=True, help="the day after the last, UTC")
        parser.add_argument("--prices-of", type=_day, help="at the prices of this day")
        parser.add_argument("--service-tier", choices=ServiceTier.values, default="", help="in this service tier")
        parser.add_argument(
            "--model",
            action="append",
            type=_pair,
            default=[],
            metavar="MODEL=OTHER",
            help="the tokens of MODEL priced as OTHER; =OTHER for every model not named; may be repeated",
        )
        parser.add_argument("--price-file", type=Path, help="CSV or JSON, as for import_prices; goes before the stored")
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        scenario = Scenario(
            prices_of=options["prices_of"],
            service_tier=options["service_tier"],
            models=dict(options["model"]),
            price_file=_price_file(options["price_file"]),
        )
        if scenario.is_empty:
            raise CommandError("Say what is different: --prices-of, --service-tier, --model or --price-file.")
        if options["start"] >= options["end"]:
            raise CommandError("--to is exclusive and comes after --from.")
        organization = Organization.objects.filter(slug=options["organization"]).first()
        if organization is None:
            raise CommandError(f"There is no organization '{options['organization']}'.")
        report = rerate(
            organization, _project(organization, options["project"]), options["start"], options["end"], scenario
        )
        self.stdout.write(_written(report, as_program=options["json"]))


def _written(report: Report, *, as_program: bool) -> str:
    return json.dumps(as_json(report), indent=2) if as_program else as_table(report)


def _project(organization: Organization, slug: str | None) -> Project | None:
    if slug is None:
        return None
    project = organization.projects.filter(slug=slug).first()
    if project is None:
        raise CommandError(f"The organization '{organization.slug}' has no project '{slug}'.")
    return project


def _price_file(path: Path | None) -> list[PriceRow]:
    if path is None:
        return []
    try:
        return read(path.read_bytes())
    except (PriceFileFaulty, OSError) as error:
        raise CommandError(f"{path} was not read:\n{error}") from error


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"'{text}' is no day; write it as 2026-11-22") from error


def _pair(text: str) -> tuple[str, str]:
    model, equals, other = text.partition("=")
    if not equals or not other:
        raise ArgumentTypeError(f"'{text}' is not written as MODEL=OTHER")
    return model, other
