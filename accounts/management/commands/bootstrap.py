"""`manage.py bootstrap`: a first organization at tier 5, with a project, an owner and an API key."""

import json
from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts.bootstrap import Start, as_json, bootstrap, read_secrets, write_secrets

# The simulator serves the o1 family as it was then.
TERMS_OF_THE_SIMULATOR = date(2024, 9, 30)


class Command(BaseCommand):
    help = (
        "Creates an organization at usage tier 5, a project, an owner who may sign in to the admin, and an API key, "
        "and prints them. Run again, it changes nothing; secrets are shown again only from the --credentials-file of "
        "an earlier run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", default="Acme", help="name of the organization (default: %(default)s)")
        parser.add_argument(
            "--slug", default="acme", help="its short name, which finds it again (default: %(default)s)"
        )
        parser.add_argument(
            "--owner-email", default="owner@example.com", help="e-mail address of the owner (default: %(default)s)"
        )
        parser.add_argument(
            "--terms-on",
            type=date.fromisoformat,
            help="day whose tiers, prices and shut-downs apply (default: today's; with the simulator 2024-09-30)",
        )
        parser.add_argument(
            "--credentials-file", type=Path, help="keep the secrets in this file (mode 0600) and reuse them"
        )
        parser.add_argument(
            "--rotate-key", action="store_true", help="revoke the key of an earlier run and issue a new one"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path | None = options["credentials_file"]
        if path:
            self._check_writable(path)
        simulated_terms = TERMS_OF_THE_SIMULATOR if settings.PROVIDER_IS_SIMULATOR else None
        start = bootstrap(
            name=options["name"],
            slug=options["slug"],
            owner_email=options["owner_email"],
            terms_on=options["terms_on"] or simulated_terms,
            now=timezone.now(),
            known=read_secrets(path) if path else None,
            rotate=options["rotate_key"],
        )
        if path:
            write_secrets(path, start)
        self.stdout.write(json.dumps(as_json(start), indent=2) if options["json"] else self._as_text(start))

    def _check_writable(self, path: Path) -> None:
        """Before anything is made: a key that could not be kept would be lost, since nobody can read it again."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            with path.open("a"):
                pass
        except OSError as error:
            raise CommandError(f"The secrets cannot be kept in {path}: {error}") from error

    def _as_text(self, start: Start) -> str:
        hidden = "(not shown again; --rotate-key issues a new one)"
        return "\n".join(
            (
                f"organization  {start.organization.name}  {start.organization.pk}",
                f"project       {start.project.name}  {start.project.pk}",
                f"owner         {start.owner.email}  password {start.owner_password or '(set earlier)'}",
                f"API key       {start.api_key_secret or f'{start.api_key.prefix}... {hidden}'}",
            )
        )
