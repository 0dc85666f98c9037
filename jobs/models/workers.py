"""Workers: the processes that carry out calls, as they report themselves."""

from django.db import models


class Worker(models.Model):
    """A process that carries out calls. It says every few seconds that it lives, and how many calls it can hold."""

    name = models.CharField(max_length=100, primary_key=True)
    slots = models.PositiveIntegerField(help_text="Calls that it carries out at once.")
    started_at = models.DateTimeField()
    heard_at = models.DateTimeField(help_text="When it last said that it lives.")
    is_stopping = models.BooleanField(default=False, help_text="It finishes what it has and takes no more.")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
