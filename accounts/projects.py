"""What is done to projects: made, changed, paused."""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from django.utils.text import slugify

from accounts import changes
from accounts.audit import Who
from accounts.models import Organization, Project

SUBJECT = "project"
LONGEST_SLUG = 63


def slug_of(name: str) -> str:
    """What a project of this name is called in addresses; empty where the name has no letter that serves."""
    return slugify(name)[:LONGEST_SLUG].strip("-_").replace("_", "-")


def create(organization: Organization, fields: Mapping[str, Any], *, by: Who) -> Project:
    """A new project. `fields`: name and slug, and any of team, doubt policy, patience and weight. Raises NameTaken."""
    project = Project(organization=organization, **fields)
    return changes.create(project, SUBJECT, by=by, organization_id=organization.pk, unique="slug", **fields)


def change(project: Project, wanted: Mapping[str, Any], *, by: Who) -> Project:
    """The project with these fields."""
    return changes.update(project, wanted, SUBJECT, by=by, organization_id=project.organization_id)


def pause(project: Project, reason: str, *, by: Who) -> Project:
    """The project, of which no new call starts from now on; one that is paused keeps its instant."""
    since = project.paused_at or timezone.now()
    wanted = {"paused_at": since, "paused_reason": reason}
    return changes.update(project, wanted, SUBJECT, by=by, organization_id=project.organization_id, reason=reason)


def unpause(project: Project, *, by: Who, reason: str = "") -> Project:
    """The project, whose calls may start again."""
    wanted = {"paused_at": None, "paused_reason": ""}
    return changes.update(project, wanted, SUBJECT, by=by, organization_id=project.organization_id, reason=reason)
