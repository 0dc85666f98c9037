"""`GET /audit-entries`: who changed, looked at or took away what."""

from datetime import UTC, datetime, time
from typing import Any

from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.access import Capability
from accounts.api.contract import page_of, problems, read_query
from accounts.api.management import TAGS, ManagementView, PageQuery, answer_page
from accounts.models import AuditAction, AuditEntry


class AuditQuery(PageQuery):
    def get_fields(self) -> dict[str, serializers.Field]:
        # A method, because `from` is a word of Python and cannot be the name of an attribute.
        return {
            **super().get_fields(),
            "from": serializers.DateField(required=False, help_text="First UTC day."),
            "to": serializers.DateField(required=False, help_text="The UTC day after the last."),
            "action": serializers.ListField(
                child=serializers.ChoiceField(choices=AuditAction.choices),
                required=False,
                help_text="Any of these; separated by commas or repeated.",
            ),
            "subject_type": serializers.CharField(required=False, help_text="As in the entries: `project`, `api_key`."),
            "actor": serializers.EmailField(required=False, help_text="The person, also where a key acted for them."),
        }


class AuditEntrySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    at = serializers.DateTimeField()
    action = serializers.ChoiceField(choices=AuditAction.choices)
    subject_type = serializers.CharField()
    subject_id = serializers.CharField(allow_blank=True)
    subject_name = serializers.CharField(allow_blank=True, help_text="As it was called then.")
    actor = serializers.CharField(source="actor_name", help_text="The person or the program, as it was called then.")
    actor_id = serializers.IntegerField(allow_null=True, help_text="`user_id` of the person.")
    api_key = serializers.UUIDField(source="api_key_id", allow_null=True, help_text="The key that acted for them.")
    address = serializers.CharField(allow_null=True, help_text="From where.")
    request_id = serializers.CharField(allow_blank=True)
    before = serializers.DictField(help_text="The fields that changed, as they were.")
    after = serializers.DictField()
    reason = serializers.CharField(allow_blank=True)


EXAMPLE = OpenApiExample(
    "A team was renamed",
    value={
        "id": "019ab3c4-0a00-7b00-8000-1f2e3d4c5555",
        "at": "2026-11-23T10:00:00Z",
        "action": "updated",
        "subject_type": "team",
        "subject_id": "019ab3c2-11d0-7d21-9c55-6a1c5be2a333",
        "subject_name": "Vision",
        "actor": "owner@acme.example by key automation (bk_live_9fQz...)",
        "actor_id": 1,
        "api_key": "019ab3c3-4bc0-7f10-a1a1-55d0c3a2a444",
        "address": "10.0.0.5",
        "request_id": "req_7c1f",
        "before": {"name": "Images"},
        "after": {"name": "Vision"},
        "reason": "",
    },
    response_only=True,
    status_codes=["200"],
)


class AuditEntriesView(ManagementView):
    takes = {"GET": Capability.SEE_AUDIT}

    @extend_schema(
        operation_id="listAuditEntries",
        summary="List audit entries",
        description="What was done in the organization, newest first.",
        tags=TAGS,
        parameters=[AuditQuery],
        responses={200: page_of("AuditEntryPage", AuditEntrySerializer), **problems(400, 403)},
        examples=[EXAMPLE],
    )
    def get(self, request: Request) -> Response:
        """A page of the organization's audit trail."""
        query = read_query(request, AuditQuery)
        rows = _matching(AuditEntry.objects.filter(organization=self.organization), query)
        # By instant, as the index has them; the id tells apart what one transaction did.
        found = rows.order_by("-at", "-pk")[: query["limit"] + 1]
        return answer_page(request, list(found), query["limit"], AuditEntrySerializer)


def _matching(entries: "QuerySet[AuditEntry]", query: dict[str, Any]) -> "QuerySet[AuditEntry]":
    conditions = {
        "at__gte": _midnight(query.get("from")),
        "at__lt": _midnight(query.get("to")),
        "action__in": query.get("action"),
        "subject_type": query.get("subject_type"),
        "actor__email": query["actor"].lower() if "actor" in query else None,
    }
    found = entries.filter(**{name: value for name, value in conditions.items() if value is not None})
    if "cursor" not in query:
        return found
    last = entries.filter(pk=query["cursor"]).first()
    return found.filter(Q(at__lt=last.at) | Q(at=last.at, pk__lt=last.pk)) if last else found.none()


def _midnight(day: Any) -> datetime | None:
    return day and datetime.combine(day, time(), UTC)
