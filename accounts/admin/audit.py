"""The audit trail: searched, read beside what it was before, taken away as CSV; and whether its chains are intact."""

import csv
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts import access, audit
from accounts.access import Capability
from accounts.admin.base import Place, ReadOnlyAdmin, badge, link, uuid_of
from accounts.audit_chain import NO_ORGANIZATION
from accounts.models import AuditAction, AuditEntry, AuditTrail, Organization

COLUMNS = (
    *("at", "organization", "sequence", "actor_name", "address", "action", "subject_type", "subject_id"),
    *("subject_name", "before", "after", "reason", "request_id", "seal"),
)
# A spreadsheet would take a cell that begins so for a formula.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


class SubjectFilter(admin.SimpleListFilter):
    """By what it was done to; the choices are found by an index, so that a trail kept for ever is not read for them."""

    title = "subject"
    parameter_name = "subject_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(word, word.replace("_", " ")) for word in _subject_types()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        return queryset.filter(subject_type=self.value()) if self.value() else queryset


def _subject_types() -> list[str]:
    """The words that there are: one step of the index for each, however many entries."""
    found: list[str] = []
    words = AuditEntry.objects.order_by("subject_type").values_list("subject_type", flat=True)
    while word := words.filter(subject_type__gt=found[-1] if found else "").first():
        found.append(word)
    return found


class WhoFilter(admin.SimpleListFilter):
    title = "done by"
    parameter_name = "by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("person", "A person"), ("key", "A program with a key"), ("service", "The service, or a command")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        match self.value():
            case "person":
                return queryset.filter(actor__isnull=False, api_key__isnull=True)
            case "key":
                return queryset.filter(api_key__isnull=False)
            case "service":
                return queryset.filter(actor__isnull=True, api_key__isnull=True)
        return queryset


def _sees_all(request: HttpRequest) -> bool:
    return request.user.has_perm("accounts.view_auditentry")


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    place = Place(organization="organization")
    sees = Capability.SEE_AUDIT
    change_list_template = "admin/accounts/auditentry/change_list.html"
    list_display = ("at", "actor_name", "action", "subject_type", "subject", "changed", "organization", "address")
    list_filter = ("action", SubjectFilter, WhoFilter, "at", "organization")
    list_select_related = ("organization",)
    search_fields = ("actor_name", "subject_name", "reason", "request_id", "subject_id")
    id_fields = ("pk", "organization_id", "subject_id", "api_key_id")
    ordering = ("-at", "-id")
    fieldsets = (
        (None, {"fields": ("at", "action", "subject_type", "subject", "organization", "reason")}),
        ("By whom, and from where", {"fields": ("actor_name", "actor", "api_key", "address", "request_id")}),
        ("What changed", {"fields": ("differences",)}),
        ("Its place", {"fields": ("sequence", "sealed", "chain")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEntry]:
        found: QuerySet[AuditEntry] = super().get_queryset(request)
        # Whoever is named may be gone: by a join nothing is missed, and there is nobody.
        return found.select_related("organization", "actor", "api_key")

    @admin.display(description="subject", ordering="subject_name")
    def subject(self, entry: AuditEntry) -> object:
        """The name that it had, with its page where there is one still."""
        text = entry.subject_name or entry.subject_id or "–"
        model = _models().get(entry.subject_type)
        if model is None or not entry.subject_id or entry.action == AuditAction.DELETED:
            return text
        try:
            name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
            return link(reverse(name, args=[entry.subject_id]), text)
        except NoReverseMatch:
            return text

    @admin.display(description="changed")
    def changed(self, entry: AuditEntry) -> str:
        names = list({**entry.before, **entry.after})
        return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "") or "–"

    @admin.display(description="before and after")
    def differences(self, entry: AuditEntry) -> object:
        names = list({**entry.before, **entry.after})
        if not names:
            return "Nothing was changed by it."
        rows = ((name, _cell(entry.before, name), _cell(entry.after, name)) for name in names)
        body = format_html_join("", '<tr><th scope="row">{}</th><td>{}</td><td>{}</td></tr>', rows)
        return format_html(
            '<div class="table-scroll" role="region" aria-label="What changed" tabindex="0"><table class="audit-diff">'
            '<thead><tr><th scope="col">field</th><th scope="col">before</th><th scope="col">after</th></tr></thead>'
            "<tbody>{}</tbody></table></div>",
            body,
        )

    @admin.display(description="seal")
    def sealed(self, entry: AuditEntry) -> SafeString:
        return format_html("<code>{}</code>", entry.seal)

    @admin.display(description="chain")
    def chain(self, entry: AuditEntry) -> SafeString:
        return chain_state(AuditTrail.objects.filter(pk=entry.organization_id or NO_ORGANIZATION).first())

    # --- The list and its file --------------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        export = path("export/", self.admin_site.admin_view(self.export), name="accounts_auditentry_export")
        return [export, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {"trails": _trails(request), "query": request.GET.urlencode(), **(extra_context or {})}
        page: HttpResponse = super().changelist_view(request, shown)
        return page

    def export(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """What the list shows with these filters, as CSV, all pages of it; that it was taken is an entry too."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            asked = self.get_changelist_instance(request)
            rows = asked.get_queryset(request)
        except IncorrectLookupParameters as error:
            raise Http404("The trail has no such filter.") from error
        # Of what was there when it was asked for, so that the entry about it is not in it.
        last = AuditEntry.objects.order_by("-at", "-id").values_list("at", flat=True).first()
        audit.record(
            AuditAction.EXPORTED,
            "audit_entry",
            "",
            by=audit.who(request),
            organization_id=_trail_of_export(request),
            name="audit trail",
            after={name: str(value) for name, value in request.GET.items()},
        )
        lines = rows.filter(at__lte=last).iterator(chunk_size=2000) if last else iter(())
        headers = {"Content-Disposition": 'attachment; filename="audit-trail.csv"'}
        return StreamingHttpResponse(_csv(lines), content_type="text/csv; charset=utf-8", headers=headers)


@admin.register(AuditTrail)
class AuditTrailAdmin(ReadOnlyAdmin):
    """Each chain: how long it is, and whether it was intact when it was last read."""

    place = Place(organization="pk")
    sees = Capability.SEE_AUDIT
    list_display = ("of", "head_sequence", "state", "verified_at", "verified_entries")
    list_filter = ("verified_at",)
    search_fields = ("head_seal", "break_found")
    ordering = ("id",)
    fields = (*list_display, "head_seal", "break_found")

    @admin.display(description="organization")
    def of(self, trail: AuditTrail) -> str:
        return organization_names([trail])[trail.pk]

    @admin.display(description="state")
    def state(self, trail: AuditTrail) -> SafeString:
        return chain_state(trail)


def organization_names(trails: list[AuditTrail]) -> dict[Any, str]:
    """Whose each trail is; by itself where it is of none, or of one that is gone."""
    found = Organization.objects.in_bulk([trail.pk for trail in trails])
    return {trail.pk: str(found.get(trail.pk) or trail) for trail in trails}


def chain_state(trail: AuditTrail | None) -> SafeString:
    """In words: intact, broken and where, or never verified."""
    if trail is None:
        return badge("bad", "its head is gone")
    if trail.verified_at is None:
        return badge("quiet", "not verified yet")
    if trail.break_found:
        return format_html("{} {}", badge("bad", "broken"), trail.break_found)
    told = f"{trail.verified_entries:,} entries verified on {trail.verified_at:%Y-%m-%d %H:%M} UTC"
    return format_html("{} {}", badge("good", "intact"), told)


def _trails(request: HttpRequest) -> list[tuple[str, SafeString]]:
    """The chains that this person sees, broken ones first; a few, since the list of all has its page."""
    rows = AuditTrail.objects.order_by("-break_found", "id")
    if not _sees_all(request):
        rows = rows.filter(pk__in=access.organizations(request.user, Capability.SEE_AUDIT).values("pk"))
    shown = list(rows[:5])
    names = organization_names(shown)
    return [(names[trail.pk], chain_state(trail)) for trail in shown]


def _trail_of_export(request: HttpRequest) -> Any:
    """The organization in whose trail the export is noted: the one it was narrowed to, else the first that they see."""
    seen = access.organizations(request.user, Capability.SEE_AUDIT)
    if _sees_all(request):
        seen = Organization.objects.all()
    asked = seen.filter(pk=key) if (key := uuid_of(request.GET.get("organization__id__exact", ""))) else seen.none()
    if _sees_all(request) and not asked:
        return None
    return (asked or seen.order_by("pk")).values_list("pk", flat=True).first()


def _models() -> dict[str, Any]:
    labels = ("accounts", "billing", "jobs")
    return {audit.subject_type(model): model for label in labels for model in apps.get_app_config(label).get_models()}


def _cell(said: dict[str, Any], name: str) -> object:
    if name not in said:
        return "–"
    match said[name]:
        case None | "":
            return "–"
        case bool() as answer:
            return "yes" if answer else "no"
        case dict() | list() as value:
            return format_html("<pre>{}</pre>", json.dumps(value, indent=1, ensure_ascii=False))
        case value:
            return str(value)


def _csv(entries: Iterator[AuditEntry]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    rows = ([_written(getattr(entry, name)) for name in COLUMNS] for entry in entries)
    return (writer.writerow(row) for row in chain([COLUMNS], rows))


class _Echo:
    """Gives each line back instead of keeping it."""

    def write(self, line: str) -> str:
        return line


def _written(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULAS) else text
