"""What is to be delivered: written with what it tells, claimed by one sender at a time, and kept until it was taken.

A claim puts the delivery off by a lease. A sender that is killed leaves it to be due again: nothing is lost with it,
and what it had posted already comes twice, under one id. Nobody holds a lock while a message is under way.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F
from uuid_utils.compat import uuid7

from billing.arrays import array
from billing.clock import database_now
from billing.models import Alert, AlertKind, DeliveryStatus, EventType, WebhookDelivery, WebhookEndpoint, WebhookTry
from billing.webhooks.schedule import JITTER_PERMILLE, next_try
from billing.webhooks.wire import TOTAL_SECONDS, Answer

EVENT_TYPES: Mapping[str, EventType] = {
    AlertKind.THRESHOLD: EventType.THRESHOLD_REACHED,
    AlertKind.FORECAST: EventType.FORECAST_EXCEEDED,
    AlertKind.EXHAUSTED: EventType.EXHAUSTED,
    AlertKind.ANOMALY: EventType.ANOMALY_DETECTED,
    AlertKind.OVERRUN: EventType.OVERRUN_DETECTED,
    AlertKind.DRIFT: EventType.DRIFT_DETECTED,
    AlertKind.DOUBTS: EventType.IN_DOUBT,
    AlertKind.BROKEN: EventType.VERIFICATION_FAILED,
}
# Longer than a try may take, with the time that a busy sender needs to write down what came of it.
LEASE_SECONDS = 3 * TOTAL_SECONDS
# What one endpoint may have under way in one process, so that a slow one does not keep the others waiting.
MOST_OF_AN_ENDPOINT = 10
KEPT = timedelta(days=30)
_DELETED_AT_ONCE = 5000

# An index finds the due ones of each endpoint; whoever has one, keeps the others off without making them wait.
_CLAIM = f"""
    WITH due AS (
        SELECT found.id FROM billing_webhookendpoint endpoint CROSS JOIN LATERAL (
            SELECT id, due_at FROM billing_webhookdelivery
            WHERE endpoint_id = endpoint.id AND status = '{DeliveryStatus.PENDING}' AND due_at <= now()
            ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
        ) found
        WHERE endpoint.disabled_at IS NULL AND endpoint.id <> ALL(%s::uuid[])
        ORDER BY found.due_at LIMIT %s
    )
    UPDATE billing_webhookdelivery SET due_at = now() + make_interval(secs => %s), claims = claims + 1
    FROM due WHERE billing_webhookdelivery.id = due.id
    RETURNING billing_webhookdelivery.id, claims
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this process has, and by which claim."""

    delivery: WebhookDelivery
    claim: int


def tell(alert: Alert) -> int:
    """Writes a delivery for each endpoint that wants to know of an alert; returns how many.

    Belongs into the alert's transaction.
    """
    event_type = EVENT_TYPES.get(alert.kind)
    if event_type is None:
        return 0
    endpoints = WebhookEndpoint.objects.filter(organization=alert.organization_id, disabled_at=None)
    wanted = [each for each in endpoints if not each.event_types or event_type in each.event_types]
    if wanted:
        body = body_of(event_type, alert.raised_at, data_of(alert))
        WebhookDelivery.objects.bulk_create(
            message(endpoint, event_type, body, alert.raised_at, alert) for endpoint in wanted
        )
    return len(wanted)


def message(
    endpoint: WebhookEndpoint, event_type: str, body: str, now: datetime, alert: Alert | None = None
) -> WebhookDelivery:
    """A delivery that is due now, not yet saved."""
    return WebhookDelivery(
        id=uuid7(), endpoint=endpoint, alert=alert, event_type=event_type, body=body, due_at=now, created_at=now
    )


def body_of(event_type: str, at: datetime, data: Mapping[str, Any]) -> str:
    """What is posted, below 20 kB: every text in it has an end."""
    return json.dumps({"type": event_type, "timestamp": instant(at), "data": data}, separators=(",", ":"))


def data_of(alert: Alert) -> dict[str, Any]:
    """An alert as programs get it: ids and names, the sentence for people, and the figures."""
    project, team = alert.project, alert.team
    return {
        "alert_id": str(alert.pk),
        "kind": alert.kind,
        "text": alert.text,
        "organization": {"id": str(alert.organization_id), "name": alert.organization.name},
        "project": {"id": str(project.pk), "name": project.name} if project else None,
        "team": {"id": str(team.pk), "name": team.name} if team else None,
        **alert.data,
    }


def instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def claim(most: int, besides: Iterable[UUID] = ()) -> list[Claimed]:
    """So many deliveries that are due, of no endpoint that is named; nobody else gets them while the lease lasts."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [MOST_OF_AN_ENDPOINT, array(besides), most, LEASE_SECONDS])
        claims = dict(cursor.fetchall())
    rows = WebhookDelivery.objects.select_related("endpoint").filter(pk__in=claims)
    return [Claimed(row, claims[row.pk]) for row in rows]


@transaction.atomic
def book(claimed: Claimed, answer: Answer, tried_at: datetime) -> DeliveryStatus | None:
    """Writes down what came of a try, and when the next one is; returns what the delivery is now.

    None where another sender has it by now, because the lease ran out: only a success counts then.
    """
    delivery = WebhookDelivery.objects.select_for_update().filter(pk=claimed.delivery.pk).first()
    if delivery is None:
        return None  # deleted with its endpoint
    WebhookTry.objects.create(
        delivery=claimed.delivery,
        tried_at=tried_at,
        milliseconds=answer.milliseconds,
        http_status=answer.status,
        error=answer.error,
        answer=answer.text,
    )
    now = database_now()
    if answer.is_success:
        WebhookEndpoint.objects.filter(pk=claimed.delivery.endpoint_id).update(succeeded_at=now)
    is_ours = answer.is_success or delivery.claims == claimed.claim
    if delivery.status != DeliveryStatus.PENDING or not is_ours:
        return None
    delivery.tries += 1
    again = None if answer.is_success or answer.status == 410 else _again(delivery.tries, answer, now)
    if answer.is_success:
        delivery.status, delivery.finished_at = DeliveryStatus.DELIVERED, now
    elif again is None:
        delivery.status, delivery.finished_at = DeliveryStatus.FAILED, now
    else:
        delivery.due_at = again
    delivery.save(update_fields=["status", "tries", "due_at", "finished_at"])
    return DeliveryStatus(delivery.status)


def _again(tries: int, answer: Answer, now: datetime) -> datetime | None:
    return next_try(tries, now, retry_after=answer.retry_after, permille=secrets.randbelow(JITTER_PERMILLE + 1))


def replay(delivery: WebhookDelivery) -> bool:
    """Makes a delivery due now, with its whole schedule before it; under the same id, to the byte.

    Whether it was: one that is pending is only hurried.
    """
    changed = WebhookDelivery.objects.filter(pk=delivery.pk).update(
        status=DeliveryStatus.PENDING, due_at=database_now(), tries=0, finished_at=None, claims=F("claims") + 1
    )
    return bool(changed)


def forget_old() -> int:
    """Deletes deliveries that were made long ago, with their tries; returns how many. The alerts stay."""
    since = database_now() - KEPT
    old = WebhookDelivery.objects.filter(created_at__lt=since).order_by("id").values("pk")[:_DELETED_AT_ONCE]
    deleted, _ = WebhookDelivery.objects.filter(pk__in=list(old.values_list("pk", flat=True))).delete()
    return deleted
