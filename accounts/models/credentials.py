"""An organization's own access to the provider; without one, the deployment's environment serves.

One key for the calls, and another that reads the bill: the provider's admin keys serve for nothing else.
"""

from django.db import models

from accounts.models.organizations import Organization
from accounts.secrets import decrypt, encrypt


class KeptKey(models.Model):
    """A key of the provider, encrypted at rest and never shown again."""

    encrypted_api_key = models.TextField(editable=False)
    api_key_hint = models.CharField(max_length=12, editable=False, help_text="The last characters of the key.")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True

    @property
    def api_key(self) -> str:
        return decrypt(self.encrypted_api_key)

    @api_key.setter
    def api_key(self, key: str) -> None:
        self.encrypted_api_key = encrypt(key)
        self.api_key_hint = key[-4:]


class ProviderCredential(KeptKey):
    """Key and address of the provider for one organization. The key is encrypted at rest and never shown again."""

    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, related_name="provider_credential")
    base_url = models.URLField(
        blank=True, help_text="Any endpoint that speaks OpenAI's API. Empty: the deployment's OPENAI_BASE_URL."
    )
    provider_organization_id = models.CharField(max_length=100, blank=True, help_text="The provider's org-... id.")
    serves_shut_down_models = models.BooleanField(
        default=False, help_text="The endpoint goes on serving models that OpenAI itself has shut down."
    )
    keeps_answers = models.BooleanField(
        default=True,
        db_default=True,
        help_text="The endpoint may be asked to keep answers (store), so that a lost one can be looked up. Not under "
        "zero data retention, and not where the endpoint does not know the parameter.",
    )

    def __str__(self) -> str:
        return f"{self.organization}: ...{self.api_key_hint}"


class AdminCredential(KeptKey):
    """The provider's admin key of one organization, which reads its bill. Encrypted at rest, never shown again."""

    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, related_name="admin_credential")

    def __str__(self) -> str:
        return f"{self.organization}: ...{self.api_key_hint}"
