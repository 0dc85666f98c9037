"""`/teams`, and who is in them or leads them."""

from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import access, teams
from accounts.access import Capability
from accounts.api.contract import page_of, problems
from accounts.api.fields import TextField
from accounts.api.management import REFUSALS, TAGS, Body, ManagementView, PageQuery, page, read_body
from accounts.api.once import IDEMPOTENCY_KEY, answer_once, location, replayed, text_of
from accounts.idempotency import Answer
from accounts.models import Membership, Team
from accounts.teams import Place


class TeamBody(Body):
    name = TextField(max_length=200, help_text="Unique in the organization.")


class TeamSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    members = serializers.SerializerMethodField(help_text="Ids, as in `/members`.")
    leads = serializers.SerializerMethodField(
        help_text="Ids, as in `/members`: they see the team's spend and manage the quotas within it."
    )
    projects = serializers.SerializerMethodField(help_text="Ids of the projects that the team owns.")
    created_at = serializers.DateTimeField()

    def get_members(self, team: Team) -> list[int]:
        return sorted(membership.pk for membership in team.members.all())

    def get_leads(self, team: Team) -> list[int]:
        return sorted(membership.pk for membership in team.leads.all())

    def get_projects(self, team: Team) -> list[str]:
        return sorted(str(project.pk) for project in team.projects.all())


TEAM = {
    "id": "019ab3c2-11d0-7d21-9c55-6a1c5be2a333",
    "name": "Vision",
    "members": [7, 12],
    "leads": [7],
    "projects": ["019ab3c1-7e0a-7aa1-8b67-2d7f0ce1a222"],
    "created_at": "2026-11-01T09:00:00Z",
}
EXAMPLE = OpenApiExample("A team", value=TEAM, response_only=True, status_codes=["200", "201"])
NAMED = OpenApiExample("A name", value={"name": "Vision"}, request_only=True)


class TeamsView(ManagementView):
    takes = {"POST": Capability.MANAGE_PEOPLE}

    @extend_schema(
        operation_id="listTeams",
        summary="List teams",
        description="Newest first. Members see the teams that they are in or lead, other roles all of them.",
        tags=TAGS,
        parameters=[PageQuery],
        responses={200: page_of("TeamPage", TeamSerializer), **problems(400, 403)},
        examples=[EXAMPLE],
    )
    def get(self, request: Request) -> Response:
        """A page of the teams that the key's maker may see."""
        return page(teams_of(self), request, TeamSerializer)

    @extend_schema(
        operation_id="createTeam",
        summary="Create a team",
        tags=TAGS,
        request=TeamBody,
        parameters=[IDEMPOTENCY_KEY, replayed(201), location(201, "Where the team is.")],
        responses={201: TeamSerializer, **problems(*REFUSALS, 422)},
        examples=[NAMED, EXAMPLE],
    )
    def post(self, request: Request) -> HttpResponse:
        """201 and the team, which has nobody yet."""
        name = read_body(request, TeamBody)["name"]

        def create() -> Answer:
            return Answer(201, text_of(TeamSerializer(teams.create(self.organization, name, by=self.by)).data))

        return answer_once(request, create)


class TeamView(ManagementView):
    takes = {"PATCH": Capability.MANAGE_PEOPLE, "DELETE": Capability.MANAGE_PEOPLE}

    @extend_schema(
        operation_id="getTeam",
        summary="Look at a team",
        tags=TAGS,
        responses={200: TeamSerializer, **problems(403, 404)},
        examples=[EXAMPLE],
    )
    def get(self, request: Request, team_id: UUID) -> Response:
        """The team as it stands."""
        return Response(TeamSerializer(_team_of(self, team_id)).data)

    @extend_schema(
        operation_id="renameTeam",
        summary="Rename a team",
        tags=TAGS,
        request=TeamBody,
        responses={200: TeamSerializer, **problems(*REFUSALS)},
        examples=[NAMED, EXAMPLE],
    )
    def patch(self, request: Request, team_id: UUID) -> Response:
        """The team under its new name."""
        team = _team_of(self, team_id)
        wanted = read_body(request, TeamBody, partial=True)
        return Response(TeamSerializer(teams.rename(team, wanted.get("name", team.name), by=self.by)).data)

    @extend_schema(
        operation_id="removeTeam",
        summary="Remove a team",
        description="With its quotas. One that owns projects stays (409 `team_owns_projects`): its quotas bind them.",
        tags=TAGS,
        responses={204: None, **problems(403, 404, 409)},
    )
    def delete(self, request: Request, team_id: UUID) -> Response:
        """204 once it is gone."""
        teams.remove(_team_of(self, team_id), by=self.by)
        return Response(status=204)


class _PlaceView(ManagementView):
    """Somebody among the members or the leads of a team."""

    takes = {"PUT": Capability.MANAGE_PEOPLE, "DELETE": Capability.MANAGE_PEOPLE}
    place: Place

    @transaction.atomic
    def _set(self, team_id: UUID, member_id: int, *, is_there: bool) -> Response:
        team = _team_of(self, team_id)
        membership = Membership.objects.filter(pk=member_id, organization=self.organization).first()
        if membership is None:
            raise NotFound("There is no member with this id.")
        teams.place(team, membership, self.place, is_there=is_there, by=self.by)
        return Response(TeamSerializer(_team_of(self, team_id)).data)


class TeamMemberView(_PlaceView):
    place = Place.MEMBER

    @extend_schema(
        operation_id="addTeamMember",
        summary="Take a member into a team",
        description="Again, it changes nothing.",
        tags=TAGS,
        request=None,
        responses={200: TeamSerializer, **problems(403, 404)},
        examples=[EXAMPLE],
    )
    def put(self, request: Request, team_id: UUID, member_id: int) -> Response:
        """The team with the member in it."""
        return self._set(team_id, member_id, is_there=True)

    @extend_schema(
        operation_id="removeTeamMember",
        summary="Take a member out of a team",
        description="Again, it changes nothing.",
        tags=TAGS,
        responses={200: TeamSerializer, **problems(403, 404)},
        examples=[EXAMPLE],
    )
    def delete(self, request: Request, team_id: UUID, member_id: int) -> Response:
        """The team without the member."""
        return self._set(team_id, member_id, is_there=False)


class TeamLeadView(_PlaceView):
    place = Place.LEAD

    @extend_schema(
        operation_id="addTeamLead",
        summary="Make a member lead a team",
        description="Leads need not be members of the team. Again, it changes nothing.",
        tags=TAGS,
        request=None,
        responses={200: TeamSerializer, **problems(403, 404)},
        examples=[EXAMPLE],
    )
    def put(self, request: Request, team_id: UUID, member_id: int) -> Response:
        """The team with the member leading it."""
        return self._set(team_id, member_id, is_there=True)

    @extend_schema(
        operation_id="removeTeamLead",
        summary="Have a member lead a team no more",
        description="Again, it changes nothing.",
        tags=TAGS,
        responses={200: TeamSerializer, **problems(403, 404)},
        examples=[EXAMPLE],
    )
    def delete(self, request: Request, team_id: UUID, member_id: int) -> Response:
        """The team without the member leading it."""
        return self._set(team_id, member_id, is_there=False)


def teams_of(view: ManagementView) -> "QuerySet[Team]":
    """The teams of the key's organization that its maker may see."""
    found = access.teams(view.person).filter(organization=view.organization)
    return found.prefetch_related("members", "leads", "projects")


def _team_of(view: ManagementView, team_id: UUID) -> Team:
    """One of them. Raises NotFound, for another organization's as for one that never was."""
    team = teams_of(view).filter(pk=team_id).first()
    if team is None:
        raise NotFound("There is no team with this id.")
    return team
