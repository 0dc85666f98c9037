"""`/members`: who is in the organization, and in which role."""

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import members
from accounts.access import Capability
from accounts.api.contract import page_of, problems
from accounts.api.management import REFUSALS, TAGS, Body, ManagementView, NumberedPageQuery, page, read_body
from accounts.api.once import IDEMPOTENCY_KEY, answer_once, location, replayed, text_of
from accounts.idempotency import Answer
from accounts.models import Membership, Role


class Invitation(Body):
    email = serializers.EmailField(max_length=254, help_text="By which the person signs in.")
    role = serializers.ChoiceField(choices=Role.choices, help_text="Owners and admins are made by owners alone.")


class MemberChanges(Body):
    role = serializers.ChoiceField(choices=Role.choices)


class MemberSerializer(serializers.Serializer):
    id = serializers.IntegerField(help_text="Of the membership; the routes of teams take it.")
    user_id = serializers.IntegerField(help_text="Of the person, as spend by member and quotas name them.")
    email = serializers.EmailField(source="user.email")
    role = serializers.ChoiceField(choices=Role.choices)
    created_at = serializers.DateTimeField()


MEMBER = {
    "id": 7,
    "user_id": 3,
    "email": "ada@acme.example",
    "role": "member",
    "created_at": "2026-11-01T09:00:00Z",
}
EXAMPLE = OpenApiExample("A member", value=MEMBER, response_only=True, status_codes=["200", "201"])


class MembersView(ManagementView):
    takes = {"POST": Capability.MANAGE_PEOPLE}

    @extend_schema(
        operation_id="listMembers",
        summary="List members",
        description="Newest first. Whoever may see the organization's spend sees everybody; others see themselves and "
        "the members of the teams that they lead.",
        tags=TAGS,
        parameters=[NumberedPageQuery],
        responses={200: page_of("MemberPage", MemberSerializer), **problems(400, 403)},
        examples=[EXAMPLE],
    )
    def get(self, request: Request) -> Response:
        """A page of the members that the key's maker may know of."""
        return page(members_of(self), request, MemberSerializer, NumberedPageQuery)

    @extend_schema(
        operation_id="inviteMember",
        summary="Invite a member",
        description="By e-mail address, with a role. Somebody who is new to Bursar gets an account without a password, "
        "with which nobody can sign in until they are given one.",
        tags=TAGS,
        request=Invitation,
        parameters=[IDEMPOTENCY_KEY, replayed(201), location(201, "Where the member is.")],
        responses={201: MemberSerializer, **problems(*REFUSALS, 422)},
        examples=[
            OpenApiExample("Ada", value={"email": "ada@acme.example", "role": "member"}, request_only=True),
            EXAMPLE,
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """201 and the new member."""
        wanted = read_body(request, Invitation)

        def invite() -> Answer:
            membership = members.invite(self.organization, wanted["email"], Role(wanted["role"]), by=self.by)
            return Answer(201, text_of(MemberSerializer(membership).data))

        return answer_once(request, invite)


class MemberView(ManagementView):
    takes = {"PATCH": Capability.MANAGE_PEOPLE, "DELETE": Capability.MANAGE_PEOPLE}

    @extend_schema(
        operation_id="getMember",
        summary="Look at a member",
        tags=TAGS,
        responses={200: MemberSerializer, **problems(403, 404)},
        examples=[EXAMPLE],
    )
    def get(self, request: Request, member_id: int) -> Response:
        """The member."""
        return Response(MemberSerializer(_member_of(self, member_id)).data)

    @extend_schema(
        operation_id="changeMember",
        summary="Give a member another role",
        description="Owners and admins are made and unmade by owners alone (403 `role_not_yours`), and the last owner "
        "stays one (409 `last_owner`). Keys that the person made go on with the new role.",
        tags=TAGS,
        request=MemberChanges,
        responses={200: MemberSerializer, **problems(*REFUSALS)},
        examples=[OpenApiExample("Looks only", value={"role": "viewer"}, request_only=True), EXAMPLE],
    )
    def patch(self, request: Request, member_id: int) -> Response:
        """The member in the new role."""
        membership = _member_of(self, member_id)
        wanted = read_body(request, MemberChanges, partial=True)
        role = Role(wanted.get("role", membership.role))
        return Response(MemberSerializer(members.change_role(membership, role, by=self.by)).data)

    @extend_schema(
        operation_id="removeMember",
        summary="Remove a member",
        description="From the organization and its teams. Keys that the person made are refused from that instant on.",
        tags=TAGS,
        responses={204: None, **problems(403, 404, 409)},
    )
    def delete(self, request: Request, member_id: int) -> Response:
        """204 once they are gone."""
        members.remove(_member_of(self, member_id), by=self.by)
        return Response(status=204)


def members_of(view: ManagementView) -> "QuerySet[Membership]":
    """The members of the key's organization that its maker may know of."""
    return members.seen_by(view.person, view.organization)


def _member_of(view: ManagementView, member_id: int) -> Membership:
    """One of them. Raises NotFound, for another organization's as for one that never was."""
    membership = members_of(view).filter(pk=member_id).first()
    if membership is None:
        raise NotFound("There is no member with this id.")
    return membership
