"""Accounts at the provider: what it bills together.

An organization with a credential of its own has an account of its own; all others share the deployment's.
"""

from dataclasses import dataclass

from django.db.models import QuerySet

from accounts.models import Organization


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """One account, and all whose calls it is billed for; `organization` is None for the deployment's."""

    organization: Organization | None
    organizations: tuple[Organization, ...]

    def __str__(self) -> str:
        return str(self.organization or "the deployment's account")


def account_of(organization: Organization) -> ProviderAccount:
    """The account that is billed for an organization's calls."""
    if _with_own().filter(pk=organization.pk).exists():
        return ProviderAccount(organization, (organization,))
    return _shared()


def account_named(organization: Organization | None) -> ProviderAccount:
    """An organization's own account, or the deployment's for None."""
    return ProviderAccount(organization, (organization,)) if organization else _shared()


def every_account() -> list[ProviderAccount]:
    """All accounts that are billed for somebody's calls; the deployment's first."""
    own = [ProviderAccount(organization, (organization,)) for organization in _with_own().order_by("slug")]
    shared = _shared()
    return [shared, *own] if shared.organizations else own


def _shared() -> ProviderAccount:
    others = Organization.objects.exclude(pk__in=_with_own()).order_by("slug")
    return ProviderAccount(None, tuple(others))


def _with_own() -> QuerySet[Organization]:
    """Organizations with a key of their own, for calls or for the bill."""
    having = Organization.objects.filter(provider_credential__isnull=False)
    return having | Organization.objects.filter(admin_credential__isnull=False)
