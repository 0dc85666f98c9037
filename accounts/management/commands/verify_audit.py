"""`manage.py verify_audit`: proves that the audit trails are what was written, or says where they are not."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import audit_verification
from accounts.audit_chain import NO_ORGANIZATION, Anchor
from accounts.models import Organization


class Command(BaseCommand):
    help = (
        "Reads every audit trail, says where the first entry is that is not what was written, and exits with 1 if "
        "there is any. A trail whose end was cut off and whose head was set back still looks whole: keep what --anchor "
        "prints where nobody who may write to the database may write, and compare with it by --against."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--anchor", action="store_true", help="print the end of every trail as JSON, if all hold")
        parser.add_argument("--against", type=Path, help="a file with what --anchor printed once")

    def handle(self, *args: Any, **options: Any) -> None:
        anchors = _read(options["against"]) if options["against"] else {}
        # Before they are read, so that none is printed that was not verified.
        ends = audit_verification.anchors_now()
        names = dict(Organization.objects.values_list("pk", "slug"))
        wrong = 0
        for one in audit_verification.verify(anchors):
            name = "no organization" if one.trail == NO_ORGANIZATION else names.get(one.trail, f"{one.trail} (deleted)")
            if one.found:
                wrong += 1
                self.stderr.write(self.style.ERROR(f"{name}: {one.found.reason}"))
            elif not options["anchor"]:
                self.stdout.write(f"{name}: {one.entries} entries agree")
        if wrong:
            sys.exit(1)
        if options["anchor"]:
            self.stdout.write(json.dumps(_as_json(ends), indent=2))
        elif not names and not ends:
            self.stdout.write("There is no audit entry yet.")


def _as_json(anchors: Mapping[UUID, Anchor]) -> dict[str, Any]:
    return {str(trail): {"sequence": end.sequence, "seal": end.seal} for trail, end in anchors.items()}


def _read(path: Path) -> dict[UUID, Anchor]:
    try:
        kept = json.loads(path.read_text())
        return {UUID(trail): Anchor(int(end["sequence"]), str(end["seal"])) for trail, end in kept.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandError(f"{path} holds no anchors: {error}") from error
