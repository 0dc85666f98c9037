"""Which keys a route is for, and which roles."""

from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts import access
from accounts.access import Capability
from accounts.models import ApiKey


class IsManagementKey(BasePermission):
    """Management keys alone, but for the methods that a view opens to `plain_key_methods`."""

    message = "This takes a management key: one that was made with `may_manage`, by somebody whose role manages."
    code = "not_a_management_key"

    def has_permission(self, request: Request, view: Any) -> bool:
        key = request.auth
        opened = request.method in getattr(view, "plain_key_methods", ())
        return isinstance(key, ApiKey) and (key.may_manage or opened)


def require(request: Request, capability: Capability) -> None:
    """Raises PermissionDenied where the key's maker may not do this at this instant, in all of its organization."""
    assert isinstance(request.auth, ApiKey)
    if not access.may(request.user, capability, request.auth.project.organization_id):
        raise PermissionDenied(
            f"The role of the key's maker does not allow this: it takes {capability.value}.", code="permission_denied"
        )
