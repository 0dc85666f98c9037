"""What people and programs do with their endpoints. Each act and its line in the audit trail commit together."""

from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction

from accounts.audit import Who, record
from accounts.errors import DomainError
from accounts.models import AuditAction, Organization
from billing import alerts
from billing.clock import database_now
from billing.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from billing.models.webhooks import TEST_EVENT
from billing.webhooks import outbox
from billing.webhooks.signing import new_secret
from billing.webhooks.urls import checked

MOST_ENDPOINTS = 20
# After a rotation messages are signed with both secrets for so long, so that the receiver may change in its own time.
FORMER_SECRET_KEPT = timedelta(days=1)
DISABLED_BY_HAND = "disabled by hand"
SUBJECT = "webhook_endpoint"


class TooManyEndpoints(DomainError):
    """The organization has as many endpoints as one may have; delete one that is not needed."""

    code = "too_many_webhooks"


class EndpointDisabled(DomainError):
    """The endpoint is disabled: enable it first."""

    code = "webhook_disabled"


@transaction.atomic
def create(
    organization: Organization, url: str, *, by: Who, description: str = "", event_types: Sequence[str] = ()
) -> tuple[WebhookEndpoint, str]:
    """A new endpoint and its secret, which nobody can read again. Raises UrlRefused and TooManyEndpoints."""
    # Two at once would each count without the other.
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
    if organization.webhook_endpoints.count() >= MOST_ENDPOINTS:
        raise TooManyEndpoints
    endpoint = WebhookEndpoint(
        organization=organization,
        url=str(checked(url)),
        description=description,
        event_types=list(event_types),
        created_by=by.user,
    )
    endpoint.secret = secret = new_secret()
    endpoint.save()
    _record(AuditAction.CREATED, endpoint, by, after=_shown(endpoint))
    return endpoint, secret


@transaction.atomic
def change(
    endpoint: WebhookEndpoint,
    *,
    by: Who,
    url: str | None = None,
    description: str | None = None,
    event_types: Sequence[str] | None = None,
    is_enabled: bool | None = None,
) -> WebhookEndpoint:
    """Changes what is given; enabling sends what has waited. Raises UrlRefused."""
    endpoint = _locked(endpoint)
    before = _shown(endpoint)
    if url is not None:
        endpoint.url = str(checked(url))
    if description is not None:
        endpoint.description = description
    if event_types is not None:
        endpoint.event_types = list(event_types)
    if is_enabled is not None and is_enabled is not (endpoint.disabled_at is None):
        endpoint.disabled_at = None if is_enabled else database_now()
        endpoint.disabled_reason = "" if is_enabled else DISABLED_BY_HAND
    endpoint.save(update_fields=["url", "description", "event_types", "disabled_at", "disabled_reason"])
    after = _shown(endpoint)
    changed = [name for name, value in after.items() if before[name] != value]
    if changed:
        _record(
            *(AuditAction.UPDATED, endpoint, by),
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
        )
    return endpoint


@transaction.atomic
def rotate(endpoint: WebhookEndpoint, *, by: Who) -> str:
    """A new secret, which nobody can read again; the former one signs besides for a day."""
    endpoint = _locked(endpoint)
    secret = new_secret()
    endpoint.encrypted_former_secret = endpoint.encrypted_secret
    endpoint.former_secret_until = database_now() + FORMER_SECRET_KEPT
    endpoint.secret = secret
    endpoint.save(update_fields=["encrypted_secret", "encrypted_former_secret", "former_secret_until"])
    _record(AuditAction.UPDATED, endpoint, by, after={"secret": "rotated"})
    return secret


@transaction.atomic
def delete(endpoint: WebhookEndpoint, *, by: Who) -> None:
    """Deletes an endpoint, with what was not delivered to it and its log."""
    _record(AuditAction.DELETED, endpoint, by, before=_shown(endpoint))
    endpoint.delete()


def test(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """A delivery that tells nothing, whatever the endpoint is subscribed to. Raises EndpointDisabled."""
    if endpoint.disabled_at is not None:
        raise EndpointDisabled
    now = database_now()
    organization = endpoint.organization
    data = {
        "text": "This is a test. Nothing has happened.",
        "organization": {"id": str(organization.pk), "name": organization.name},
    }
    delivery = outbox.message(endpoint, TEST_EVENT, outbox.body_of(TEST_EVENT, now, data), now)
    delivery.save()
    return delivery


def replay(delivery: WebhookDelivery) -> None:
    """Sends a message again, under the same id. Raises EndpointDisabled."""
    if delivery.endpoint.disabled_at is not None:
        raise EndpointDisabled
    outbox.replay(delivery)


def disable_gone(endpoint: WebhookEndpoint) -> bool:
    """Disables an endpoint that answered 410 Gone, and tells its owners; whether it was enabled."""
    return _disable(endpoint, "it answered 410 Gone")


def disable_dead(delivery: WebhookDelivery) -> bool:
    """Disables the endpoint of a delivery that failed to its last try, and tells its owners.

    Not one that took another message meanwhile: it lives, and did not want this one.
    """
    endpoint = WebhookEndpoint.objects.get(pk=delivery.endpoint_id)
    if endpoint.succeeded_at is not None and endpoint.succeeded_at >= delivery.created_at:
        return False
    return _disable(endpoint, "it took no message in three days of tries")


@transaction.atomic
def _disable(endpoint: WebhookEndpoint, reason: str) -> bool:
    now = database_now()
    enabled = WebhookEndpoint.objects.filter(pk=endpoint.pk, disabled_at=None)
    if not enabled.update(disabled_at=now, disabled_reason=reason):
        return False
    pending = WebhookDelivery.objects.filter(endpoint=endpoint, status=DeliveryStatus.PENDING).count()
    alerts.raise_endpoint(
        organization_id=endpoint.organization_id,
        endpoint_id=endpoint.pk,
        name=str(endpoint),
        reason=reason,
        pending=pending,
        at=now,
    )
    return True


def _locked(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    return WebhookEndpoint.objects.select_for_update().get(pk=endpoint.pk)


def _shown(endpoint: WebhookEndpoint) -> dict[str, object]:
    """What the audit trail shows of it."""
    return {
        "url": endpoint.url,
        "description": endpoint.description,
        "event_types": list(endpoint.event_types),
        "is_enabled": endpoint.disabled_at is None,
    }


def _record(
    action: AuditAction,
    endpoint: WebhookEndpoint,
    by: Who,
    *,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    organization_id, name = endpoint.organization_id, str(endpoint)
    record(
        *(action, SUBJECT, endpoint.pk),
        by=by,
        organization_id=organization_id,
        name=name,
        before=before,
        after=after,
    )
