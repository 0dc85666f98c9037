"""`manage.py close_months`: closes the months that are over, for good."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.audit import command_line
from accounts.models import Organization
from billing import closing
from billing.money import usd


class Command(BaseCommand):
    help = (
        "Closes the calendar months (UTC) that are over, without waiting for the days after which they close by "
        "themselves. A closed month takes no more lines; what is learnt later is booked in the open month and names it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--organization", help="only the organization with this slug")

    def handle(self, *args: Any, **options: Any) -> None:
        organizations = Organization.objects.filter(book__isnull=False).order_by("pk")
        if options["organization"]:
            organizations = organizations.filter(slug=options["organization"])
            if not organizations:
                raise CommandError(f"No organization '{options['organization']}' has a book.")
        closed = [
            month for organization in organizations for month in closing.close_over(organization, who=command_line())
        ]
        for month in closed:
            self.stdout.write(
                f"{month}, {month.lines:,} lines, {usd(month.held_usd)} USD held still, seal {month.seal[:16]}…"
            )
        if not closed:
            self.stdout.write("There is nothing to close: every month that is over is closed.")
