"""API keys: shown once, stored hashed, recognised by a prefix."""

from datetime import datetime
from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models
from uuid_utils.compat import uuid7

from accounts.models.organizations import Project


class ApiKey(models.Model):
    """A secret by which a program acts for a project. `accounts.api_keys` issues, finds and revokes them."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=200)
    prefix = models.CharField(max_length=16, editable=False, help_text="The visible beginning of the key.")
    secret_hash = models.CharField(max_length=64, unique=True, editable=False)
    created_by = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="api_keys")
    created_at = models.DateTimeField(auto_now_add=True)
    may_manage = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Besides submitting jobs it may do over the API what its maker may, as with quotas.",
    )
    requests_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Requests that it may send, and no more than the deployment's BURSAR_KEY_REQUESTS_PER_MINUTE unless "
        "its operators set it. Empty: as many as that.",
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering = ("-created_at",)
        indexes: ClassVar = [models.Index(fields=["project", "-created_at"])]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"

    def is_valid_at(self, now: datetime) -> bool:
        """Whether the key may be used at this instant."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
