"""Celery's entrances that belong to no app: signs of life."""

from celery import Task, shared_task

from config import alive, consuming


@shared_task
def hear_beat() -> None:
    """Sent by the beat alone: that it is carried out says that both live."""
    alive.say(alive.Part.BEAT)


@shared_task(bind=True)
def canary(self: Task) -> None:
    """Sent by a worker to itself."""
    consuming.hear()
