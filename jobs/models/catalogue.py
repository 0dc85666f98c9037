"""The model catalogue: what each of the provider's models takes, and from when until when."""

from datetime import date
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


def _names() -> ArrayField:
    return ArrayField(models.CharField(max_length=40), default=list, blank=True)


class Endpoint(models.TextChoices):
    CHAT = "chat"  # /v1/chat/completions
    RESPONSES = "responses"  # /v1/responses
    BATCH = "batch"  # /v1/batches


class Transport(models.TextChoices):
    CHAT = "chat"  # one connection, held until the answer comes
    BACKGROUND = "background"  # a response that is made in the background, and looked at until it has ended


class LanguageModel(models.Model):
    """One model of the provider. What a request may hold is checked against this row before it costs anything."""

    name = models.CharField(max_length=100, unique=True, help_text="The alias that requests name, such as o1-mini.")
    is_reasoning = models.BooleanField(help_text="It thinks in reasoning tokens before it answers.")
    context_window = models.PositiveIntegerField(help_text="Tokens that prompt and completion may have together.")
    max_output_tokens = models.PositiveIntegerField(help_text="Completion tokens at most, reasoning included.")
    endpoints = _names()
    transport = models.CharField(
        max_length=10,
        choices=Transport.choices,
        default=Transport.CHAT,
        help_text="How its calls are made. In the background a crash loses nothing; that needs the endpoint responses.",
    )
    roles = _names()
    parameters = ArrayField(
        models.CharField(max_length=40),
        default=list,
        blank=True,
        help_text="Parameters that it takes freely, besides model and messages.",
    )
    fixed_parameters = models.JSONField(
        default=dict, blank=True, help_text='Parameters that it takes at one value only, such as {"temperature": 1}.'
    )
    reasoning_efforts = _names()
    response_formats = _names()
    accepts_images = models.BooleanField(default=False)
    accepts_tools = models.BooleanField(default=False)
    rate_limit_family = models.CharField(
        max_length=100, blank=True, help_text="Models of one family share a rate limit. Empty: its own name."
    )
    minimum_tier = models.PositiveSmallIntegerField(default=1, help_text="The lowest usage tier that may call it.")
    released_on = models.DateField()
    shutdown_on = models.DateField(null=True, blank=True)
    successor = models.CharField(
        max_length=100, blank=True, help_text="The model that the provider names as its replacement."
    )
    source = models.CharField(max_length=300)

    class Meta:
        verbose_name = "model"
        ordering = ("name",)
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(max_output_tokens__gt=0) & Q(context_window__gt=0), name="model_sizes_are_positive"
            ),
            models.CheckConstraint(condition=Q(transport__in=Transport.values), name="model_transport_is_known"),
            models.CheckConstraint(
                condition=~Q(transport="background") | Q(endpoints__contains=["responses"]),
                name="background_needs_responses",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def family(self) -> str:
        """The name under which rate limits are kept."""
        return self.rate_limit_family or self.name

    def is_shut_down_on(self, day: date) -> bool:
        return self.shutdown_on is not None and day >= self.shutdown_on


class ModelSnapshot(models.Model):
    """A dated version of a model; the alias answers with the one marked current."""

    model = models.ForeignKey(LanguageModel, on_delete=models.CASCADE, related_name="snapshots")
    name = models.CharField(max_length=100, unique=True)
    is_current = models.BooleanField(default=False)
    max_output_tokens = models.PositiveIntegerField(
        null=True, blank=True, help_text="Where it differs from the model's."
    )
    shutdown_on = models.DateField(null=True, blank=True, help_text="Where it differs from the model's.")

    class Meta:
        ordering = ("name",)
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["model"], condition=Q(is_current=True), name="one_current_snapshot"),
        ]

    def __str__(self) -> str:
        return self.name
