"""Breakers: what keeps an organization's calls from a provider that fails them or refuses its account."""

from typing import ClassVar

from django.db import models

from accounts.models import Organization, Project


class BreakerReason(models.TextChoices):
    """Why calls are held back. Also the `reason` of what their jobs wait for."""

    UNAVAILABLE = "provider_unavailable", "The provider fails"
    ACCESS = "provider_access", "The provider refuses the credential"
    QUOTA = "provider_quota", "The provider's account is used up"


class Breaker(models.Model):
    """An open breaker: the jobs that it binds wait, but for one call at a time that tries. Closed ones have no row.

    Losing a row costs a few calls that fail: it is opened anew.
    """

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, null=True, blank=True, related_name="+", help_text="Empty: all of them."
    )
    family = models.CharField(
        max_length=100, blank=True, help_text="Models of one family share a rate limit. Empty: all models."
    )
    reason = models.CharField(max_length=30, choices=BreakerReason.choices)
    error = models.JSONField(help_text="What was said last before it opened: status, code and message.")
    opened_at = models.DateTimeField()
    next_probe_at = models.DateTimeField(help_text="One call is let through then.")
    probes = models.PositiveIntegerField(default=0, help_text="Calls let through since it opened.")
    probe_id = models.UUIDField(null=True, blank=True, help_text="The attempt that was let through last.")

    class Meta:
        ordering = ("-opened_at",)
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "project", "family"], nulls_distinct=False, name="one_breaker_each"
            )
        ]

    def __str__(self) -> str:
        return f"{self.project or self.organization}, {self.family or 'all models'}: {self.get_reason_display()}"
