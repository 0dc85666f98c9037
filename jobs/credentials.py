"""How a project reaches the provider: its organization's credential, else the deployment's environment."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from django.conf import settings

from accounts.models import AdminCredential, Project, ProviderCredential
from accounts.provider_accounts import ProviderAccount
from accounts.remembered import remembered


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
    keeps_answers: bool = True


def access_of(project: Project) -> Access:
    """What the calls of a project use. A credential that was changed or deleted may serve for a second more."""
    return _with(project, _own(project.organization_id))


def accesses_of(projects: Iterable[Project]) -> dict[UUID, Access]:
    """The same for many projects, by their ids, in one query."""
    of = {project.pk: project for project in projects}
    organizations = {project.organization_id for project in of.values()}
    own = {
        row.organization_id: _access(row)
        for row in ProviderCredential.objects.filter(organization_id__in=organizations)
    }
    return {pk: _with(project, own.get(project.organization_id)) for pk, project in of.items()}


def _with(project: Project, own: Access | None) -> Access:
    """The access of a project whose organization has this one, or none, of its own."""
    project_id = project.provider_project_id or None
    if own is not None:
        # The environment's ids belong to the environment's key and are not mixed with the organization's own.
        return replace(own, base_url=own.base_url or settings.OPENAI_BASE_URL, provider_project_id=project_id)
    return Access(
        settings.OPENAI_BASE_URL,
        settings.OPENAI_API_KEY,
        settings.OPENAI_ORG_ID or None,
        project_id or settings.OPENAI_PROJECT_ID or None,
        settings.PROVIDER_SERVES_SHUT_DOWN_MODELS,
    )


@remembered()
def _own(organization_id: UUID) -> Access | None:
    """The organization's own credential, decrypted; it names no project, and no address where it has none."""
    own = ProviderCredential.objects.filter(organization_id=organization_id).first()
    return None if own is None else _access(own)


def _access(own: ProviderCredential) -> Access:
    return Access(
        own.base_url,
        own.api_key,
        own.provider_organization_id or None,
        None,
        own.serves_shut_down_models,
        own.keeps_answers,
    )


@dataclass(frozen=True, slots=True)
class AdminAccess:
    """Address and admin key with which the bill of an account is read, and the provider's id of its organization."""

    base_url: str
    api_key: str = field(repr=False)
    provider_organization_id: str | None


def admin_access_of(account: ProviderAccount) -> AdminAccess | None:
    """How the bill of an account is read; None where there is no admin key for it."""
    if account.organization is None:
        if not settings.OPENAI_ADMIN_KEY:
            return None
        return AdminAccess(settings.OPENAI_BASE_URL, settings.OPENAI_ADMIN_KEY, settings.OPENAI_ORG_ID or None)
    key = AdminCredential.objects.filter(organization=account.organization).first()
    calls = ProviderCredential.objects.filter(organization=account.organization).first()
    if key is None:
        return None
    base_url = (calls and calls.base_url) or settings.OPENAI_BASE_URL
    # The environment's id belongs to the environment's key.
    return AdminAccess(base_url, key.api_key, (calls and calls.provider_organization_id) or None)
