"""`manage.py reencrypt`: writes anew, with the newest key, what an older one has encrypted."""

from typing import Any

from django.core.management.base import BaseCommand

from accounts import reencryption


class Command(BaseCommand):
    help = "Writes anew with BURSAR_SECRET_KEY what was encrypted with one of BURSAR_SECRET_KEY_FALLBACKS."

    def handle(self, *args: Any, **options: Any) -> None:
        for place, count in reencryption.reencrypt().items():
            self.stdout.write(f"{place}: {count}")
