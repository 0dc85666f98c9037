"""How a project reaches the provider: its organization's credential, else the deployment's environment."""

from dataclasses import dataclass, field

from django.conf import settings

from accounts.models import Project, ProviderCredential


@dataclass(frozen=True, slots=True)
class Access:
    """Address and credentials of the provider.

    Hashable, so that connections are shared between calls of equal access.
    """

    base_url: str
    api_key: str = field(repr=False)
    provider_organization_id: str | None
    provider_project_id: str | None
    serves_shut_down_models: bool


def access_of(project: Project) -> Access:
    """What the calls of a project use."""
    own = ProviderCredential.objects.filter(organization_id=project.organization_id).first()
    project_id = project.provider_project_id or None
    if own is not None:
        # The environment's ids belong to the environment's key and are not mixed with the organization's own.
        return Access(
            own.base_url or settings.OPENAI_BASE_URL,
            own.api_key,
            own.provider_organization_id or None,
            project_id,
            own.serves_shut_down_models,
        )
    return Access(
        settings.OPENAI_BASE_URL,
        settings.OPENAI_API_KEY,
        settings.OPENAI_ORG_ID or None,
        project_id or settings.OPENAI_PROJECT_ID or None,
        settings.PROVIDER_SERVES_SHUT_DOWN_MODELS,
    )
