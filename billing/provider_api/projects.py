"""`GET /v1/organization/projects`: what the ids in costs and usage are called."""

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.contract import read_query
from accounts.api.projects import projects_of
from accounts.models import Project
from billing.provider_api.base import AdministrationView

PAGE, MAX_PAGE = 20, 100


class ProjectsQuery(serializers.Serializer):
    limit = serializers.IntegerField(default=PAGE, min_value=1, max_value=MAX_PAGE)
    after = serializers.UUIDField(required=False)
    # No project is ever archived here; taken, because clients send it.
    include_archived = serializers.BooleanField(default=False)


class ProjectsView(AdministrationView):
    def get(self, request: Request) -> Response:
        """A page of the projects that the key's maker may see, newest first."""
        query = read_query(request, ProjectsQuery)
        rows = projects_of(self).order_by("-pk")
        if "after" in query:
            rows = rows.filter(pk__lt=query["after"])
        found = list(rows[: query["limit"] + 1])
        page = [_project(project) for project in found[: query["limit"]]]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        return Response({"object": "list", "data": page, **ends, "has_more": len(found) > len(page)})


class ProjectView(AdministrationView):
    def get(self, request: Request, project_id: UUID) -> Response:
        """One of them. Raises NotFound."""
        return Response(_project(project_of(self, project_id)))


def project_of(view: AdministrationView, project_id: UUID) -> Project:
    """A project that the key's maker may see. Raises NotFound, for another organization's as for none."""
    project = projects_of(view).filter(pk=project_id).first()
    if project is None:
        raise NotFound(f"Project '{project_id}' not found.")
    return project


def _project(project: Project) -> dict[str, Any]:
    return {
        "id": str(project.pk),
        "object": "organization.project",
        "name": project.name,
        "created_at": int(project.created_at.timestamp()),
        "archived_at": None,
        "status": "active",
    }
