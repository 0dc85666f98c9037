"""`/projects`: those of the organization that the key's maker may see; made and changed by who manages them."""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import access, projects
from accounts.access import Capability
from accounts.api.contract import page_of, problems
from accounts.api.fields import FlagField, TextField, WholeNumberField
from accounts.api.management import REFUSALS, TAGS, Body, ManagementView, PageQuery, invalid, page, read_body
from accounts.api.once import IDEMPOTENCY_KEY, answer_once, location, replayed, text_of
from accounts.idempotency import Answer
from accounts.models import AdviceRule, DoubtPolicy, Project, Team
from accounts.models.organizations import LONGEST_RETENTION_DAYS, SLUG


class ProjectBody(Body):
    """What a project may be given. `team` is the id of a team of the organization, or null."""

    name = TextField(max_length=200)
    team = serializers.UUIDField(required=False, allow_null=True, help_text="Whose quotas bind it too; null: of none.")
    doubt_policy = serializers.ChoiceField(
        choices=DoubtPolicy.choices,
        required=False,
        help_text="What becomes of a call whose answer was lost and is not found at the provider in time.",
    )
    doubt_patience_hours = WholeNumberField(required=False, min_value=1, max_value=24 * 30)
    dispatch_weight = WholeNumberField(
        required=False,
        min_value=1,
        max_value=10_000,
        help_text="Its part of what is short, against the organization's other projects.",
    )
    content_retention_days = WholeNumberField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=LONGEST_RETENTION_DAYS,
        help_text="Prompts and answers are erased so many days after a job has ended; null: never. 0: a minute after "
        "the answer was fetched, or an hour after the job's end if nobody fetches it.",
    )
    may_batch_at_provider = FlagField(
        required=False,
        help_text="true: lines of its batches may be sent through the provider's batch endpoint, at the price of "
        "batches. The provider then keeps them in files for days.",
    )
    blocks_on_advice = serializers.ListField(
        child=serializers.ChoiceField(choices=AdviceRule.choices),
        required=False,
        help_text="Jobs whose prompt gets advice by these rules are refused (400 `advice_blocks`), unless their sender "
        "ignores it by name. Empty: never.",
    )

    def validate_blocks_on_advice(self, rules: list[str]) -> list[str]:
        return sorted(set(rules))

    def validate_team(self, team_id: UUID | None) -> Team | None:
        if team_id is None:
            return None
        team = Team.objects.filter(pk=team_id, organization=self.context["organization"]).first()
        if team is None:
            raise serializers.ValidationError("There is no team with this id.", code="does_not_exist")
        return team


class NewProject(ProjectBody):
    slug = TextField(
        required=False,
        max_length=63,
        validators=[SLUG],
        help_text="Unique in the organization, for good. Default: made of the name.",
    )


class ProjectChanges(ProjectBody):
    paused = FlagField(required=False, help_text="true: no new call starts, from now on. Takes a `reason`.")
    reason = TextField(required=False, max_length=300, help_text="Why it is paused or goes on.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("paused") and "reason" not in attrs:
            raise invalid("reason", "Say why: whoever waits for the project will ask.", "required")
        if "reason" in attrs and "paused" not in attrs:
            raise invalid("reason", "A reason is given with `paused`.")
        return attrs


class ProjectSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    slug = serializers.CharField()
    team = serializers.UUIDField(source="team_id", allow_null=True)
    is_paused = serializers.SerializerMethodField()
    paused_at = serializers.DateTimeField(allow_null=True)
    paused_reason = serializers.CharField(allow_blank=True)
    doubt_policy = serializers.ChoiceField(choices=DoubtPolicy.choices)
    doubt_patience_hours = serializers.IntegerField()
    dispatch_weight = serializers.IntegerField()
    content_retention_days = serializers.IntegerField(allow_null=True)
    may_batch_at_provider = serializers.BooleanField()
    blocks_on_advice = serializers.ListField(child=serializers.ChoiceField(choices=AdviceRule.choices))
    created_at = serializers.DateTimeField()

    def get_is_paused(self, project: Project) -> bool:
        return project.paused_at is not None


PROJECT: dict[str, Any] = {
    "id": "019ab3c1-7e0a-7aa1-8b67-2d7f0ce1a222",
    "name": "Research",
    "slug": "research",
    "team": None,
    "is_paused": False,
    "paused_at": None,
    "paused_reason": "",
    "doubt_policy": "hold",
    "doubt_patience_hours": 24,
    "dispatch_weight": 100,
    "content_retention_days": None,
    "may_batch_at_provider": False,
    "blocks_on_advice": [],
    "created_at": "2026-11-01T09:00:00Z",
}
PAUSED = {**PROJECT, "is_paused": True, "paused_at": "2026-11-23T10:00:00Z", "paused_reason": "Bill under review"}


class ProjectsView(ManagementView):
    plain_key_methods = frozenset({"GET"})
    takes = {"POST": Capability.MANAGE_PROJECTS}

    @extend_schema(
        operation_id="listProjects",
        summary="List projects",
        description="Newest first. A plain key sees its own project; a management key sees those of its maker's role.",
        tags=TAGS,
        parameters=[PageQuery],
        responses={200: page_of("ProjectPage", ProjectSerializer), **problems(400, 403)},
        examples=[OpenApiExample("One project", value=PROJECT, response_only=True, status_codes=["200"])],
    )
    def get(self, request: Request) -> Response:
        """A page of the projects that the key may see."""
        if self.api_key.may_manage:
            return page(projects_of(self), request, ProjectSerializer)
        return page(Project.objects.filter(pk=self.api_key.project_id), request, ProjectSerializer)

    @extend_schema(
        operation_id="createProject",
        summary="Create a project",
        tags=TAGS,
        request=NewProject,
        parameters=[IDEMPOTENCY_KEY, replayed(201), location(201, "Where the project is.")],
        responses={201: ProjectSerializer, **problems(*REFUSALS, 422)},
        examples=[
            OpenApiExample("A project of a team", value={"name": "Research"}, request_only=True),
            OpenApiExample("The project", value=PROJECT, response_only=True, status_codes=["201"]),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """201 and the project; the same answer again for a repetition under the same Idempotency-Key."""
        fields = read_body(request, NewProject, organization=self.organization)
        fields.setdefault("slug", projects.slug_of(fields["name"]))
        if not fields["slug"]:
            raise invalid("slug", "Send one: none can be made of the name.", "required")

        def create() -> Answer:
            project = projects.create(self.organization, fields, by=self.by)
            return Answer(201, text_of(ProjectSerializer(project).data))

        return answer_once(request, create)


class ManagedProjectView(ManagementView):
    takes = {"PATCH": Capability.MANAGE_PROJECTS}

    @extend_schema(
        operation_id="getProject",
        summary="Look at a project",
        tags=TAGS,
        responses={200: ProjectSerializer, **problems(403, 404)},
        examples=[OpenApiExample("The project", value=PROJECT, response_only=True, status_codes=["200"])],
    )
    def get(self, request: Request, project_id: UUID) -> Response:
        """The project as it stands."""
        return Response(ProjectSerializer(_project_of(self, project_id)).data)

    @extend_schema(
        operation_id="changeProject",
        summary="Change, pause or unpause a project",
        description="What is not sent stays as it is. A paused project goes on to finish the calls that have begun.",
        tags=TAGS,
        request=ProjectChanges,
        responses={200: ProjectSerializer, **problems(*REFUSALS)},
        examples=[
            OpenApiExample("Pause", value={"paused": True, "reason": "Bill under review"}, request_only=True),
            OpenApiExample("The project", value=PAUSED, response_only=True, status_codes=["200"]),
        ],
    )
    @transaction.atomic
    def patch(self, request: Request, project_id: UUID) -> Response:
        """The project with what was sent."""
        project = _project_of(self, project_id)
        wanted = read_body(request, ProjectChanges, partial=True, organization=self.organization)
        paused, reason = wanted.pop("paused", None), wanted.pop("reason", "")
        project = projects.change(project, wanted, by=self.by)
        if paused:
            project = projects.pause(project, reason, by=self.by)
        elif paused is False:
            project = projects.unpause(project, by=self.by, reason=reason)
        return Response(ProjectSerializer(project).data)


def projects_of(view: ManagementView) -> "QuerySet[Project]":
    """The projects of the key's organization that its maker may see."""
    return access.projects(view.person).filter(organization=view.organization)


def _project_of(view: ManagementView, project_id: UUID) -> Project:
    """One of them. Raises NotFound, for another organization's as for one that never was."""
    project = projects_of(view).filter(pk=project_id).first()
    if project is None:
        raise NotFound("There is no project with this id.")
    return project
