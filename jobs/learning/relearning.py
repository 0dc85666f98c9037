"""Drops all that was learnt, so that it is learnt anew from the books: every answered job goes back on the list."""

from collections.abc import Callable
from time import sleep

from django.db import connection, transaction

from jobs.learning import levels
from jobs.learning.folding import ONE_LEARNER, learn_some
from jobs.models import Calibration, Distribution, Unlearnt
from jobs.states import JobStatus

PAUSE_SECONDS = 0.2
# A job that ends meanwhile has put itself on the list; whichever comes second finds it there.
_ALL_AGAIN = f"""
    INSERT INTO jobs_unlearnt (job_id)
    SELECT id FROM jobs_job WHERE prompt_class <> '' AND status IN ('{JobStatus.SUCCEEDED}', '{JobStatus.INCOMPLETE}')
    ON CONFLICT DO NOTHING
"""  # noqa: S608


@transaction.atomic
def forget() -> int:
    """Forgets everything; how many jobs are to be learnt of now. Waits for whoever is learning."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ONE_LEARNER])
        Distribution.objects.all().delete()
        Calibration.objects.all().delete()
        cursor.execute(_ALL_AGAIN)
    levels.learnt_for.forget()
    return Unlearnt.objects.count()


def relearn(progress: Callable[[int, int], None]) -> int:
    """Forgets and learns anew, telling how far it is (jobs learnt of, jobs to be learnt of); how many it were.

    Killed in the middle, the beat goes on with the rest. Beside it, the beat may take some of the jobs: none counts
    twice.
    """
    whole, done = forget(), 0
    progress(0, whole)
    while Unlearnt.objects.exists():
        learnt = learn_some()
        done += learnt
        if learnt:
            progress(min(done, whole), whole)
        else:
            sleep(PAUSE_SECONDS)  # the beat is learning
    return whole
