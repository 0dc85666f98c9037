"""`Authorization: Bearer bk_live_...`: a program acts for the project that owns the key."""

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request

from accounts import api_keys, log_context, throttling, wall
from accounts.audit import address_of
from accounts.models import ApiKey, User
from accounts.throttling import Quota


class ApiKeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        """The key's maker and the key itself (`request.auth`); None when the request carries no bearer token."""
        scheme, _, secret = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            _count(request, throttling.take_of_address(address_of(request)))
            return None
        now = timezone.now()
        api_key = api_keys.find(secret.strip(), now)
        if api_key is None:
            _count(request, throttling.take_of_address(address_of(request)))
            # One answer for unknown, expired, revoked and orphaned: a stranger learns nothing of a key.
            raise AuthenticationFailed("The API key is unknown, expired or revoked.", code="invalid_api_key")
        _count(request, throttling.take_of_key(api_key))
        # Until the request ends, which takes them away with its own id.
        log_context.add(organization_id=api_key.project.organization_id, project_id=api_key.project_id)
        wall.stand_behind(api_key.project.organization_id)
        api_keys.note_use(api_key, now)
        return api_key.created_by, api_key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="bursar"'


def _count(request: Request, quota: Quota | None) -> None:
    """Leaves word of the quota for the answer's headers, whatever it will be. Raises Throttled when it is used up."""
    request._request.request_quota = quota  # type: ignore[attr-defined]
    if quota is not None and quota.is_used_up:
        raise Throttled(wait=quota.retry_after, detail=f"More than {quota.per_minute} requests a minute.")


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key of a project: `bk_live_...`"}
