"""Workers: the processes that carry out calls, as they report themselves, and the watch that is kept over them."""

from typing import ClassVar

from django.db import models
from django.db.models import Q


class Worker(models.Model):
    """A process that carries out calls. It says every few seconds that it lives, and how many calls it can hold."""

    name = models.CharField(
        max_length=100, primary_key=True, help_text="Of this one process: started again it has another."
    )
    slots = models.PositiveIntegerField(help_text="Calls that it carries out at once.")
    started_at = models.DateTimeField()
    heard_at = models.DateTimeField(help_text="When it last said that it lives.")
    is_stopping = models.BooleanField(default=False, help_text="It finishes what it has and takes no more.")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Watch(models.Model):
    """Since when workers could be heard without a break: somebody reached the database all that time. One row.

    While the database is away nobody can say that they live, and nobody listens either.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    since = models.DateTimeField()
    seen_at = models.DateTimeField(help_text="When somebody last listened.")

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=Q(id=1), name="one_watch")]

    def __str__(self) -> str:
        return f"watch since {self.since}"
