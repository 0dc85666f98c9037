"""Whether anybody ever had the answer that was paid for: noted when it is first handed out, and never again.

It costs a request that reads an answer one UPDATE the first time, and nothing after that.
"""

from datetime import UTC, datetime

from django.db.models.functions import Now

from jobs.models import File, Job

# Of jobs and files from before this was noted: nobody knows.
NOT_KNOWN = datetime(1970, 1, 1, tzinfo=UTC)


def note_read(*jobs: Job) -> None:
    """Notes that the answers of those of the jobs that are final are handed out now."""
    unread = [job.pk for job in jobs if job.finished_at is not None and job.usage is not None and job.read_at is None]
    if unread:
        Job.objects.filter(pk__in=unread, read_at__isnull=True).update(read_at=Now())


def note_file_read(file: File) -> None:
    """Notes that a file is handed out now; the answers in it count as read, however many they are."""
    if file.read_at is None:
        File.objects.filter(pk=file.pk, read_at__isnull=True).update(read_at=Now())
