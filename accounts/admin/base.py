"""What the admin pages of every app share: pages that only show, searches by id, links and badges."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline

from accounts.access import Capability
from accounts.admin.audited import Audited
from accounts.admin.scope import EVERYBODYS, Act, Place, RelatedFilter, Scoped
from accounts.models import Project

__all__ = ["EVERYBODYS", "Act", "Capability", "Place"]


class ReadOnly:
    """Looked at and never touched, not by superusers either: the service alone writes these rows."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class IdSearch:
    """A UUID is looked for in `id_fields` by equality, which indexes answer; any other term in `search_fields`."""

    id_fields: Sequence[str] = ("pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        wanted = uuid_of(search_term)
        if wanted is None or not self.id_fields:
            # PostgreSQL has no text with a NUL in it, and would refuse the whole query.
            term = search_term.replace("\x00", "")
            return super().get_search_results(request, queryset, term)  # type: ignore[misc,no-any-return]
        matches = Q()
        for name in self.id_fields:
            matches |= Q(**{name: wanted})
        return queryset.filter(matches), any("__" in name for name in self.id_fields)


def uuid_of(text: str) -> UUID | None:
    try:
        return UUID(text.strip())
    except ValueError:
        return None


class BursarAdmin(Audited, IdSearch, Scoped, ModelAdmin):
    """An editable page of Bursar's own tables, of which each person gets the rows that are theirs to see.

    The page of a new row shows `add_fieldsets`, where there are any.
    """

    add_fieldsets: Any = None

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None and self.add_fieldsets is not None:
            return self.add_fieldsets
        return super().get_fieldsets(request, obj)

    @property
    def request(self) -> HttpRequest:
        """None. All threads share the page, and unfold would leave on it whoever was there last."""
        raise AttributeError("A page keeps no request; it is given to each of its methods.")

    @request.setter
    def request(self, request: HttpRequest) -> None:
        pass


class CappedPaginator(Paginator):
    """Counts no further than so many rows, and lists no more: whoever looks for an older one narrows the list down."""

    MOST = 10_000

    @cached_property
    def count(self) -> int:
        return min(self._counted, self.MOST)

    @property
    def has_uncounted(self) -> bool:
        return self._counted > self.MOST

    @cached_property
    def _counted(self) -> int:
        # In no order, which a limit would otherwise keep.
        rows: Any = self.object_list
        return int(rows.order_by()[: self.MOST + 1].count())


class ReadOnlyAdmin(ReadOnly, BursarAdmin):
    """A page of rows that only the service writes.

    Their tables grow without end, so nothing here reads them whole: they are counted up to a point, no choice of a
    filter is counted, and instead of a `date_hierarchy`, which looks for all the years that there are, the date is a
    filter. The default order is one that an index has.
    """

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator


class ProjectFilter(RelatedFilter):
    """By project, each with its organization: several have a project of the same name."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[Any]:
        projects = Project.objects.order_by("organization__name", "name")
        if not model_admin.sees_everything(request):
            projects = projects.filter(
                pk__in=model_admin.admin_site._registry[Project].get_queryset(request).values("pk")
            )
        rows = projects.values_list("pk", "organization__name", "name")
        return [(str(pk), f"{organization}: {name}") for pk, organization, name in rows]


class SeenWithOwner:
    """Rows under their owner: whoever has come to see the owner by a role sees them too, and changes none."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if super().has_view_permission(request, obj):  # type: ignore[misc]
            return True
        owner = self.admin_site._registry[self.parent_model]  # type: ignore[attr-defined]
        return isinstance(owner, Scoped) and owner.is_by_role(request) and owner.may(request, "view", obj)


class ReadOnlyInline(ReadOnly, SeenWithOwner, TabularInline):
    """Rows under their owner, shown only."""

    extra = 0
    can_delete = False


def link(url: str, text: object) -> SafeString:
    return format_html('<a href="{}">{}</a>', url, text)


def page_of(row: Model, text: object = None) -> SafeString:
    """A link to the admin page of a row."""
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return link(reverse(name, args=[row.pk]), row if text is None else text)


def list_of(model: str, text: object, /, **filters: object) -> SafeString:
    """A link to the list of a model ('jobs_job'), filtered."""
    return link(f"{reverse(f'admin:{model}_changelist')}?{urlencode(filters)}", text)


def badge(kind: str, text: object) -> SafeString:
    """A word in a coloured frame; the word says it all, the colour only helps."""
    return format_html('<span class="badge badge-{}">{}</span>', kind, text)


def short_id(key: object) -> SafeString:
    """The end of an id, which tells rows apart; ids made within one minute begin alike."""
    return format_html('<code class="nowrap" title="{}">…{}</code>', key, str(key)[-12:])


def dollars(amount: Decimal) -> str:
    """Payments and limits, which are whole cents: '$50,000.00'."""
    return f"${amount:,.2f}"
