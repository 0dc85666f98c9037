"""`/api-keys`: issued with their secret once, renamed, ended."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import api_keys
from accounts.access import Capability
from accounts.api.contract import page_of, problems
from accounts.api.fields import FlagField, InstantField, TextField, WholeNumberField
from accounts.api.management import REFUSALS, TAGS, Body, ManagementView, PageQuery, page, read_body
from accounts.api.once import IDEMPOTENCY_KEY, answer_once, location, replayed, text_of
from accounts.idempotency import Answer
from accounts.models import ApiKey, Project


class KeyChanges(Body):
    name = TextField(max_length=200)
    expires_at = InstantField(required=False, allow_null=True, help_text="Refused from then on; null: never.")
    requests_per_minute = WholeNumberField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=2**31 - 1,
        help_text="Requests that it may send, no more than the deployment lets every key; null: as many as that.",
    )

    def validate_requests_per_minute(self, wanted: int | None) -> int | None:
        if not api_keys.may_have(wanted):
            most = settings.KEY_REQUESTS_PER_MINUTE
            raise serializers.ValidationError(f"Keys have at most {most} here.", code="max_value")
        return wanted


class NewKey(KeyChanges):
    project = serializers.UUIDField(help_text="For which it acts.")
    may_manage = FlagField(
        required=False,
        help_text="A management key: over the API it may do what its maker's role allows. Said now or never.",
    )

    def validate_project(self, project_id: UUID) -> Project:
        project = Project.objects.filter(pk=project_id, organization=self.context["organization"]).first()
        if project is None:
            raise serializers.ValidationError("There is no project with this id.", code="does_not_exist")
        return project


class KeySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField(help_text="The visible beginning of the secret.")
    project = serializers.UUIDField(source="project_id")
    may_manage = serializers.BooleanField()
    created_by = serializers.EmailField(source="created_by.email", help_text="Whom it acts for.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute.")
    requests_per_minute = serializers.IntegerField(allow_null=True, help_text="Null: as many as every key has.")


class IssuedKeySerializer(KeySerializer):
    secret = serializers.CharField(
        allow_null=True, help_text="In this answer alone. Null in the answer to a repetition: it is kept nowhere."
    )


KEY = {
    "id": "019ab3c3-4bc0-7f10-a1a1-55d0c3a2a444",
    "name": "nightly reports",
    "prefix": "bk_live_9fQz",
    "project": "019ab3c1-7e0a-7aa1-8b67-2d7f0ce1a222",
    "may_manage": False,
    "created_by": "owner@acme.example",
    "created_at": "2026-11-01T09:00:00Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": None,
    "requests_per_minute": None,
}
EXAMPLE = OpenApiExample("A key", value=KEY, response_only=True, status_codes=["200"])
ISSUED = OpenApiExample(
    "The key and its secret",
    value={**KEY, "secret": "bk_live_9fQz-and-39-characters-that-nobody-sees-again"},
    response_only=True,
    status_codes=["201"],
)


class KeysView(ManagementView):
    takes = {"GET": Capability.MANAGE_KEYS, "POST": Capability.MANAGE_KEYS}

    @extend_schema(
        operation_id="listKeys",
        summary="List API keys",
        description="Those of all projects of the organization, newest first, revoked ones included.",
        tags=TAGS,
        parameters=[PageQuery],
        responses={200: page_of("KeyPage", KeySerializer), **problems(400, 403)},
        examples=[EXAMPLE],
    )
    def get(self, request: Request) -> Response:
        """A page of the organization's keys."""
        return page(keys_of(self), request, KeySerializer)

    @extend_schema(
        operation_id="createKey",
        summary="Issue an API key",
        description="The secret is in this answer and nowhere else. The new key acts for the maker of the key that "
        "issues it. If the answer is lost, revoke the key and issue another.",
        tags=TAGS,
        request=NewKey,
        parameters=[IDEMPOTENCY_KEY, replayed(201), location(201, "Where the key is.")],
        responses={201: IssuedKeySerializer, **problems(*REFUSALS, 422)},
        examples=[
            OpenApiExample(
                "A key of a project", value={"project": KEY["project"], "name": KEY["name"]}, request_only=True
            ),
            ISSUED,
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """201, the key and its secret; a repetition gets the key without it."""
        fields = read_body(request, NewKey, organization=self.organization)

        def issue() -> Answer:
            issued = api_keys.create(fields.pop("project"), **fields, by=self.by)
            shown: dict[str, Any] = dict(KeySerializer(issued.api_key).data)
            return Answer(201, text_of({**shown, "secret": issued.secret}), kept=text_of({**shown, "secret": None}))

        return answer_once(request, issue)


class KeyView(ManagementView):
    takes = dict.fromkeys(("GET", "PATCH", "DELETE"), Capability.MANAGE_KEYS)

    @extend_schema(
        operation_id="getKey",
        summary="Look at an API key",
        tags=TAGS,
        responses={200: KeySerializer, **problems(403, 404)},
        examples=[EXAMPLE],
    )
    def get(self, request: Request, key_id: UUID) -> Response:
        """The key, without its secret."""
        return Response(KeySerializer(_key_of(self, key_id)).data)

    @extend_schema(
        operation_id="changeKey",
        summary="Rename an API key, or set its end or its throttle",
        tags=TAGS,
        request=KeyChanges,
        responses={200: KeySerializer, **problems(*REFUSALS)},
        examples=[OpenApiExample("An end", value={"expires_at": "2027-01-01T00:00:00Z"}, request_only=True), EXAMPLE],
    )
    def patch(self, request: Request, key_id: UUID) -> Response:
        """The key with what was sent."""
        api_key = _key_of(self, key_id)
        api_keys.change(api_key, read_body(request, KeyChanges, partial=True), by=self.by)
        return Response(KeySerializer(_key_of(self, key_id)).data)

    @extend_schema(
        operation_id="revokeKey",
        summary="Revoke an API key",
        description="For good, from this instant on. It stays listed; revoking again changes nothing.",
        tags=TAGS,
        responses={204: None, **problems(403, 404)},
    )
    def delete(self, request: Request, key_id: UUID) -> Response:
        """204 once it opens nothing any more."""
        api_keys.end(_key_of(self, key_id), by=self.by)
        return Response(status=204)


def keys_of(view: ManagementView) -> "QuerySet[ApiKey]":
    """The keys of all projects of the organization."""
    return ApiKey.objects.filter(project__organization=view.organization).select_related("project", "created_by")


def _key_of(view: ManagementView, key_id: UUID) -> ApiKey:
    """One of them. Raises NotFound, for another organization's as for one that never was."""
    api_key = keys_of(view).filter(pk=key_id).first()
    if api_key is None:
        raise NotFound("There is no key with this id.")
    return api_key
