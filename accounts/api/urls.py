"""The routes of `accounts` below `/api/v1`."""

from django.urls import path

from accounts.api.audit_entries import AuditEntriesView
from accounts.api.keys import KeysView, KeyView
from accounts.api.members import MembersView, MemberView
from accounts.api.organization import OrganizationView
from accounts.api.projects import ManagedProjectView, ProjectsView
from accounts.api.teams import TeamLeadView, TeamMemberView, TeamsView, TeamView

urlpatterns = [
    path("organization", OrganizationView.as_view(), name="organization"),
    path("projects", ProjectsView.as_view(), name="projects"),
    path("projects/<uuid:project_id>", ManagedProjectView.as_view(), name="project"),
    path("teams", TeamsView.as_view(), name="teams"),
    path("teams/<uuid:team_id>", TeamView.as_view(), name="team"),
    path("teams/<uuid:team_id>/members/<int:member_id>", TeamMemberView.as_view(), name="team-member"),
    path("teams/<uuid:team_id>/leads/<int:member_id>", TeamLeadView.as_view(), name="team-lead"),
    path("members", MembersView.as_view(), name="members"),
    path("members/<int:member_id>", MemberView.as_view(), name="member"),
    path("api-keys", KeysView.as_view(), name="api-keys"),
    path("api-keys/<uuid:key_id>", KeyView.as_view(), name="api-key"),
    path("audit-entries", AuditEntriesView.as_view(), name="audit-entries"),
]
