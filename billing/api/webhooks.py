"""`/webhooks`: where the organization is told, and what came of it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.access import Capability
from accounts.api.management import REFUSALS, Body, ManagementView, PageQuery, page, read_body
from accounts.api.once import IDEMPOTENCY_KEY, answer_once, location, replayed, text_of
from accounts.idempotency import Answer
from billing.api.contract import page_of, problems, read_query
from billing.models import DeliveryStatus, EventType, WebhookDelivery, WebhookEndpoint
from billing.webhooks import endpoints, outbox
from billing.webhooks.urls import MOST_CHARACTERS

TAGS = ["Alerts"]
TAKES = "Takes a management key whose maker may manage alerts."


class WebhookChange(Body):
    url = serializers.CharField(
        max_length=MOST_CHARACTERS, required=False, help_text="https, at a public address and one of the known ports."
    )
    description = serializers.CharField(max_length=200, required=False, allow_blank=True)
    event_types = serializers.ListField(
        child=serializers.ChoiceField(choices=EventType.choices),
        required=False,
        help_text="Empty: every type, those of later versions included.",
    )
    is_enabled = serializers.BooleanField(required=False, help_text="Enabling sends what has waited.")


class NewWebhook(Body):
    url = serializers.CharField(
        max_length=MOST_CHARACTERS, help_text="https, at a public address and one of the known ports."
    )
    description = serializers.CharField(max_length=200, default="", allow_blank=True)
    event_types = serializers.ListField(
        child=serializers.ChoiceField(choices=EventType.choices),
        default=list,
        help_text="Empty: every type, those of later versions included.",
    )


class WebhookSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    url = serializers.CharField()
    description = serializers.CharField()
    event_types = serializers.ListField(child=serializers.ChoiceField(choices=EventType.choices))
    is_enabled = serializers.SerializerMethodField()
    disabled_at = serializers.DateTimeField(allow_null=True)
    disabled_reason = serializers.CharField()
    succeeded_at = serializers.DateTimeField(allow_null=True, help_text="When it last took a message.")
    former_secret_until = serializers.DateTimeField(
        allow_null=True, help_text="Until then messages are signed with the secret before the last rotation, too."
    )
    created_at = serializers.DateTimeField()

    def get_is_enabled(self, endpoint: WebhookEndpoint) -> bool:
        return endpoint.disabled_at is None


class WebhookWithSecretSerializer(WebhookSerializer):
    secret = serializers.CharField(
        allow_null=True, help_text="`whsec_...`, in this answer alone. Null in the answer to a repetition."
    )


class TrySerializer(serializers.Serializer):
    tried_at = serializers.DateTimeField()
    milliseconds = serializers.IntegerField()
    http_status = serializers.IntegerField(allow_null=True)
    error = serializers.CharField(help_text="Why there was no answer, in a word.")
    answer = serializers.CharField(help_text="How the answer began.")


class DeliverySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    message_id = serializers.CharField(help_text="The header `webhook-id`: the same however often it is sent.")
    event_type = serializers.CharField()
    alert_id = serializers.UUIDField(allow_null=True)
    status = serializers.ChoiceField(choices=DeliveryStatus.choices)
    due_at = serializers.SerializerMethodField(help_text="When it is tried next.")
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    tries = TrySerializer(many=True, source="log")

    def get_due_at(self, delivery: WebhookDelivery) -> str | None:
        return outbox.instant(delivery.due_at) if delivery.status == DeliveryStatus.PENDING else None


class DeliveryQuery(PageQuery):
    status = serializers.ListField(
        child=serializers.ChoiceField(choices=DeliveryStatus.choices), required=False, help_text="Any of these."
    )


class WebhookList(serializers.Serializer):
    data = WebhookSerializer(many=True)  # type: ignore[assignment]


class AlertsManagementView(ManagementView):
    takes = dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), Capability.MANAGE_ALERTS)

    def endpoint(self, webhook_id: UUID) -> WebhookEndpoint:
        """An endpoint of the key's organization. Raises NotFound."""
        found = WebhookEndpoint.objects.filter(organization=self.organization, pk=webhook_id).first()
        if found is None:
            raise NotFound("There is no webhook endpoint with this id.")
        return found

    def sent_once(self, send: Callable[[], WebhookDelivery]) -> HttpResponse:
        """202 and the delivery that is on its way."""
        return answer_once(self.request, lambda: Answer(202, text_of(DeliverySerializer(send()).data)), below=None)


class WebhooksView(AlertsManagementView):
    @extend_schema(
        operation_id="listWebhooks",
        summary="Webhook endpoints",
        description=TAKES,
        tags=TAGS,
        responses={200: WebhookList, **problems(403)},
    )
    def get(self, request: Request) -> Response:
        """The endpoints of the key's organization, which are few."""
        rows = WebhookEndpoint.objects.filter(organization=self.organization).order_by("-created_at")
        return Response({"data": WebhookSerializer(rows, many=True).data})

    @extend_schema(
        operation_id="createWebhook",
        summary="Add a webhook endpoint",
        description=f"{TAKES} The secret is in this answer and nowhere else. If the answer is lost, rotate the secret.",
        tags=TAGS,
        request=NewWebhook,
        parameters=[IDEMPOTENCY_KEY, replayed(201), location(201, "Where the endpoint is.")],
        responses={201: WebhookWithSecretSerializer, **problems(*REFUSALS, 422)},
    )
    def post(self, request: Request) -> HttpResponse:
        """201, the endpoint and its secret; a repetition gets the endpoint without it."""
        body = read_body(request, NewWebhook)

        def create() -> Answer:
            return _shown_once(201, *endpoints.create(self.organization, body.pop("url"), by=self.by, **body))

        return answer_once(request, create)


class WebhookView(AlertsManagementView):
    @extend_schema(
        operation_id="getWebhook",
        summary="A webhook endpoint",
        description=TAKES,
        tags=TAGS,
        responses={200: WebhookSerializer, **problems(403, 404)},
    )
    def get(self, request: Request, webhook_id: UUID) -> Response:
        """One endpoint."""
        return Response(WebhookSerializer(self.endpoint(webhook_id)).data)

    @extend_schema(
        operation_id="changeWebhook",
        summary="Change, disable or enable a webhook endpoint",
        description=TAKES,
        tags=TAGS,
        request=WebhookChange,
        responses={200: WebhookSerializer, **problems(*REFUSALS)},
    )
    def patch(self, request: Request, webhook_id: UUID) -> Response:
        """The endpoint after the change of what was sent."""
        endpoint = self.endpoint(webhook_id)
        changed = endpoints.change(endpoint, by=self.by, **read_body(request, WebhookChange))
        return Response(WebhookSerializer(changed).data)

    @extend_schema(
        operation_id="deleteWebhook",
        summary="Delete a webhook endpoint",
        description=f"{TAKES} What was not delivered to it is dropped; the alerts stay.",
        tags=TAGS,
        responses={204: None, **problems(403, 404)},
    )
    def delete(self, request: Request, webhook_id: UUID) -> Response:
        """Deletes one endpoint, with its log."""
        endpoints.delete(self.endpoint(webhook_id), by=self.by)
        return Response(status=204)


class WebhookTestView(AlertsManagementView):
    @extend_schema(
        operation_id="testWebhook",
        summary="Send a test message",
        description=f"{TAKES} It is sent in a moment; look at the deliveries for what came of it.",
        tags=TAGS,
        request=None,
        parameters=[IDEMPOTENCY_KEY, replayed(202)],
        responses={202: DeliverySerializer, **problems(400, 403, 404, 409, 422)},
    )
    def post(self, request: Request, webhook_id: UUID) -> HttpResponse:
        """202 and a delivery of type `webhook.test`."""
        return self.sent_once(lambda: endpoints.test(self.endpoint(webhook_id)))


class WebhookRotationView(AlertsManagementView):
    @extend_schema(
        operation_id="rotateWebhookSecret",
        summary="Make a new secret",
        description=f"{TAKES} For a day messages are signed with both, the new one and the former.",
        tags=TAGS,
        request=None,
        parameters=[IDEMPOTENCY_KEY, replayed(200)],
        responses={200: WebhookWithSecretSerializer, **problems(400, 403, 404, 409, 422)},
    )
    def post(self, request: Request, webhook_id: UUID) -> HttpResponse:
        """The endpoint and its new secret; a repetition gets the endpoint without it, and rotates nothing."""

        def rotate() -> Answer:
            endpoint = self.endpoint(webhook_id)
            secret = endpoints.rotate(endpoint, by=self.by)
            endpoint.refresh_from_db()
            return _shown_once(200, endpoint, secret)

        return answer_once(request, rotate, below=None)


class DeliveriesView(AlertsManagementView):
    @extend_schema(
        operation_id="listWebhookDeliveries",
        summary="What was sent to an endpoint",
        description=f"{TAKES} Kept for thirty days.",
        tags=TAGS,
        parameters=[DeliveryQuery],
        responses={200: page_of("WebhookDeliveryPage", DeliverySerializer), **problems(400, 403, 404)},
    )
    def get(self, request: Request, webhook_id: UUID) -> Response:
        """The deliveries of one endpoint with their tries, newest first, page by page."""
        query = read_query(request, DeliveryQuery)
        rows = WebhookDelivery.objects.filter(endpoint=self.endpoint(webhook_id)).prefetch_related("log")
        if "status" in query:
            rows = rows.filter(status__in=query["status"])
        return page(rows, request, DeliverySerializer, DeliveryQuery)


class DeliveryReplayView(AlertsManagementView):
    @extend_schema(
        operation_id="replayWebhookDelivery",
        summary="Send a message again",
        description=f"{TAKES} Under the same `webhook-id`, to the byte.",
        tags=TAGS,
        request=None,
        parameters=[IDEMPOTENCY_KEY, replayed(202)],
        responses={202: DeliverySerializer, **problems(400, 403, 404, 409, 422)},
    )
    def post(self, request: Request, delivery_id: UUID) -> HttpResponse:
        """202 and the delivery, which is due now."""
        return self.sent_once(lambda: self._replayed(delivery_id))

    def _replayed(self, delivery_id: UUID) -> WebhookDelivery:
        delivery = self._delivery(delivery_id)
        endpoints.replay(delivery)
        delivery.refresh_from_db()
        return delivery

    def _delivery(self, delivery_id: UUID) -> WebhookDelivery:
        rows = WebhookDelivery.objects.filter(endpoint__organization=self.organization, pk=delivery_id)
        delivery = rows.select_related("endpoint").first()
        if delivery is None:
            raise NotFound("There is no delivery with this id.")
        return delivery


def _shown_once(status: int, endpoint: WebhookEndpoint, secret: str) -> Answer:
    """An endpoint with its secret, which a repetition does not get."""
    shown: dict[str, Any] = dict(WebhookSerializer(endpoint).data)
    return Answer(status, text_of({**shown, "secret": secret}), kept=text_of({**shown, "secret": None}))
