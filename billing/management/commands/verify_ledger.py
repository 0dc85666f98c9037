"""`manage.py verify_ledger`: proves that the books agree, and says where the first difference is."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import Organization
from billing.models import Book
from billing.verification import CHECKS, repair, verify


class Command(BaseCommand):
    help = (
        "Checks each organization's books: the chain of ledger entries, and reservations, usage records, rollups and "
        "budgets against each other. Says where the first difference of each kind is, and exits with 1 if there is any."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--organization", help="only the organization with this slug")
        parser.add_argument(
            "--repair",
            action="store_true",
            help="make rollups and budgets anew from ledger and usage records, which are never changed",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        organizations = Organization.objects.filter(book__isnull=False).order_by("slug")
        if options["organization"]:
            organizations = organizations.filter(slug=options["organization"])
            if not organizations:
                raise CommandError(f"No organization '{options['organization']}' has a book.")
        wrong = 0
        for organization in organizations:
            differences = (repair if options["repair"] else verify)(organization)
            lines = Book.objects.get(organization=organization).head_sequence
            if not differences:
                self.stdout.write(f"{organization.slug}: {lines} lines, {', '.join(CHECKS)} agree")
            for difference in differences:
                mend = "; --repair makes it anew" if difference.is_derived and not options["repair"] else ""
                self.stdout.write(
                    self.style.ERROR(
                        f"{organization.slug}: {difference.check}, {difference.place}: {difference.detail}{mend}"
                    )
                )
            wrong += len(differences)
        if not organizations:
            self.stdout.write("There is no book yet: nothing was ever reserved.")
        if wrong:
            sys.exit(1)
