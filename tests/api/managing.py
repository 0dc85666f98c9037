"""Clients with management keys, and what they send."""

from typing import Any

from rest_framework.test import APIClient

from accounts import api_keys
from accounts.models import Membership, Organization, Project, Role, User
from tests.conftest import Tenant


def client_with(secret: str) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def join(organization: Organization, name: str, role: Role) -> Membership:
    """A new person's place in the organization."""
    user = User.objects.create_user(f"{name}@{organization.slug}.example")
    return Membership.objects.create(organization=organization, user=user, role=role)


def manager(project: Project, user: User) -> APIClient:
    """A program with a management key of this person."""
    issued = api_keys.issue(project, name="automation", created_by=user, may_manage=True)
    return client_with(issued.secret)


def manager_of(tenant: Tenant, role: Role) -> APIClient:
    """A program with a management key of somebody new in this role; the owner's for owners."""
    if role is Role.OWNER:
        return manager(tenant.project, tenant.owner)
    return manager(tenant.project, join(tenant.organization, role.value, role).user)


def send(client: APIClient, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """The answer to a request with a JSON body."""
    sent = getattr(client, method.lower())
    return sent(f"/api/v1/{path}", body, format="json", headers=headers) if method != "GET" else sent(f"/api/v1/{path}")
