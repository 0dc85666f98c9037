"""`GET /alerts`: what the organization was told, newest first."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.access import Capability
from accounts.api.management import ManagementView, PageQuery, page
from billing.api.contract import page_of, problems, read_query
from billing.models import Alert, AlertKind
from billing.webhooks.outbox import EVENT_TYPES, data_of


class AlertQuery(PageQuery):
    kind = serializers.ListField(
        child=serializers.ChoiceField(choices=AlertKind.choices), required=False, help_text="Any of these."
    )
    is_open = serializers.BooleanField(
        required=False, default=None, allow_null=True, help_text="Whether nobody has acknowledged it yet."
    )


class AlertSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=AlertKind.choices)
    event_type = serializers.SerializerMethodField(help_text="As webhooks call it; null: told to no webhook.")
    text = serializers.CharField(help_text="For people.")
    data = serializers.SerializerMethodField(help_text="As webhooks send it; amounts are decimal strings.")  # type: ignore[assignment]
    raised_at = serializers.DateTimeField()
    acknowledged_at = serializers.DateTimeField(allow_null=True)

    def get_event_type(self, alert: Alert) -> str | None:
        return EVENT_TYPES.get(alert.kind)

    def get_data(self, alert: Alert) -> dict[str, Any]:
        return data_of(alert)


class AlertsView(ManagementView):
    takes = {"GET": Capability.SEE_SPEND}

    @extend_schema(
        operation_id="listAlerts",
        summary="Alerts of the organization",
        description="Takes a management key whose maker may see the spend of the organization.",
        tags=["Alerts"],
        parameters=[AlertQuery],
        responses={200: page_of("AlertPage", AlertSerializer), **problems(400, 403)},
    )
    def get(self, request: Request) -> Response:
        """The alerts of the key's organization, newest first, page by page."""
        query = read_query(request, AlertQuery)
        rows = Alert.objects.filter(organization=self.organization).select_related("organization", "project", "team")
        if "kind" in query:
            rows = rows.filter(kind__in=query["kind"])
        if query["is_open"] is not None:
            rows = rows.filter(acknowledged_at__isnull=query["is_open"])
        return page(rows, request, AlertSerializer, AlertQuery)
