"""`manage.py verify_ledger`: proves that the books agree, and says where the first difference is."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.audit import command_line
from accounts.models import Organization
from billing import verifications
from billing.models import Origin, Verification


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
            asked = verifications.ask(organization, Origin.COMMAND, is_repair=options["repair"], by=command_line())
            wrong += self._say(verifications.carry_out(asked.pk))
        if not organizations:
            self.stdout.write("There is no book yet: nothing was ever reserved.")
        if wrong:
            sys.exit(1)

    def _say(self, verification: Verification) -> int:
        """Writes what came out; returns how many things are wrong."""
        slug = verification.organization.slug
        if verification.failure:
            self.stdout.write(self.style.ERROR(f"{slug}: the verification broke off: {verification.failure}"))
            return 1
        if not verification.differences:
            self.stdout.write(f"{slug}: {verification.lines} lines, {', '.join(verification.checks)} agree")
        for found in verification.differences:
            mend = "; --repair makes it anew" if found["is_derived"] and not verification.is_repair else ""
            self.stdout.write(self.style.ERROR(f"{slug}: {found['check']}, {found['place']}: {found['detail']}{mend}"))
        return len(verification.differences)
