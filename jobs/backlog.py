"""How many jobs of a project may wait at once: a queue without an end only hides that nobody will ever be served."""

from uuid import UUID

from django.conf import settings
from django.db import connection

from accounts.models import Project
from accounts.remembered import remembered
from jobs.errors import BacklogFull

# A million queued jobs take half a second to count, so it is not done for each that comes, and by one thread at a time.
# What comes meanwhile is let in: the cap protects the database, and to that some thousands more do not matter.
COUNTED_EVERY_SECONDS = 30.0


def check_room(project: Project) -> None:
    """Raises BacklogFull while as many jobs of the project wait as may; by a count that may be a minute old."""
    limit = settings.MAX_QUEUED_JOBS
    if limit and queued(project.pk, limit) >= limit:
        raise BacklogFull(
            f"{limit:,} jobs of this project are queued, and no more may be. Send it again when some have started, "
            "cancel those that are not needed, or have an administrator raise BURSAR_MAX_QUEUED_JOBS.",
            limit=limit,
        )


@remembered(COUNTED_EVERY_SECONDS)
def queued(project_id: UUID, most: int) -> int:
    """The queued jobs of a project, counted no further than `most`, over the partial index of the queue."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT FROM jobs_job WHERE project_id = %s AND status = 'queued' LIMIT %s) queued",
            [project_id, most],
        )
        count: int = cursor.fetchone()[0]
    return count
