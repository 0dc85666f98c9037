"""What may hold people's words: prompts and answers, and answers kept for repeated requests."""

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.admin.base import Capability, Place, ProjectFilter, ReadOnlyAdmin, page_of
from accounts.models import AuditAction, IdempotencyRecord
from jobs.models import JobContent
from jobs.reads import note_read


@admin.register(JobContent)
class JobContentAdmin(ReadOnlyAdmin):
    """Of the staff for superusers only, and one at a time: no list shows content, and no search looks into it."""

    place = Place(projects=("job__project",))
    sees = Capability.SEE_CONTENT

    list_display = ("job_id", "organization", "project", "asked_model", "status", "queued_at")
    list_filter = ("job__status", "job__queued_at", "job__organization", ("job__project", ProjectFilter))
    list_select_related = ("job__organization", "job__project")
    search_fields = ("job__model", "job__organization__name", "job__project__name", "job__project__slug")
    id_fields = ("pk", "job__project_id", "job__organization_id")
    ordering = ("-job_id",)
    fields = ("job_page", "prompt", "answer")

    def _by_django(self, request: HttpRequest, act: str) -> bool:
        return request.user.is_active and request.user.is_superuser

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """Whoever looks is on record before anything is shown."""
        content: JobContent | None = context.get("original")
        if content is not None:
            self.audit(request, [content], AuditAction.VIEWED)
            note_read(content.job)
        page: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return page

    def get_queryset(self, request: HttpRequest) -> QuerySet[JobContent]:
        found: QuerySet[JobContent] = super().get_queryset(request)
        # A page of the list would read megabytes only to hide them.
        return found.defer("request", "message", "rest", "asked")

    @admin.display(description="organization", ordering="job__organization__name")
    def organization(self, content: JobContent) -> str:
        return content.job.organization.name

    @admin.display(description="project", ordering="job__project__name")
    def project(self, content: JobContent) -> str:
        return content.job.project.name

    @admin.display(description="model", ordering="job__model")
    def asked_model(self, content: JobContent) -> str:
        return content.job.model

    @admin.display(description="status", ordering="job__status")
    def status(self, content: JobContent) -> str:
        return content.job.get_status_display()

    @admin.display(description="queued at", ordering="job__queued_at")
    def queued_at(self, content: JobContent) -> object:
        return content.job.queued_at

    @admin.display(description="job")
    def job_page(self, content: JobContent) -> SafeString:
        return page_of(content.job)

    @admin.display(description="request")
    def prompt(self, content: JobContent) -> SafeString:
        return _as_text(content.request)

    @admin.display(description="answer")
    def answer(self, content: JobContent) -> object:
        return "none yet" if content.message is None else _as_text(content.message)


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(ReadOnlyAdmin):
    """Without the stored body, which repeats an answer and would show it to everybody here."""

    place = Place(projects=("project",))
    sees = Capability.SEE

    list_display = ("key", "project", "response_status", "created_at")
    list_filter = ("response_status", "created_at", ("project", ProjectFilter))
    list_select_related = ("project",)
    search_fields = ("key", "project__name", "project__slug")
    id_fields = ("project_id",)
    ordering = ("-id",)
    fields = ("key", "project", "fingerprint", "response_status", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[IdempotencyRecord]:
        found: QuerySet[IdempotencyRecord] = super().get_queryset(request)
        return found.defer("response_body")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[Any, bool]:
        # Clients like to use UUIDs as keys: one is a key here before it is a project's id.
        keyed = queryset.filter(key=search_term.strip()) if "\x00" not in search_term else queryset.none()
        return (keyed, False) if keyed.exists() else super().get_search_results(request, queryset, search_term)


def _as_text(value: object) -> SafeString:
    return format_html('<pre class="content-text">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))
