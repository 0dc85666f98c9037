"""`manage.py relearn`: drops what was learnt of earlier calls, and learns it anew from the books."""

from typing import Any

from django.core.management.base import BaseCommand

from jobs.learning.relearning import relearn


class Command(BaseCommand):
    help = (
        "Drops the learnt distributions and the calibration, and learns both anew from every answered job. Until it is "
        "done, less is expected of calls; nothing else depends on it. May be interrupted: the beat does the rest."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        whole = relearn(lambda done, of: self.stdout.write(f"{done:,} of {of:,} jobs"))
        self.stdout.write(self.style.SUCCESS(f"Learnt anew from {whole:,} jobs."))
