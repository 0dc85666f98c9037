"""Whose rows an admin page shows and changes: by Django's permissions all of them, by a role those of its places.

Django's permissions count for the staff alone (`accounts.sign_in`). Everybody else gets what `accounts.access` says of
their memberships. A page says in three attributes how its rows lead to whose they are (`place`), which capability sees
them (`sees`) and which changes them (`changes`); a page that says nothing is the staff's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Field, Model, Q, QuerySet
from django.http import Http404, HttpRequest

from accounts import access
from accounts.access import Capability
from accounts.models import Membership, Organization, User


@dataclass(frozen=True, slots=True)
class Place:
    """How a row leads to whose it is, in lookups from its model. None at all: it is the provider's, and everybody's.

    Rows that name a project, a team or a person are theirs, and others in the organization need not see them; a row
    that names none is the organization's.
    """

    organization: str = ""
    projects: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    person: str = ""


EVERYBODYS = Place()


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a page offers beside viewing and changing: who may by Django's permissions, and who by role."""

    permission: str
    capability: Capability | None


class Sight:
    """What one person may do where, read once a request."""

    def __init__(self, request: HttpRequest):
        self.person: access.Person = request.user
        self.anywhere = access.anywhere(request.user)
        self._ids: dict[tuple[str, Capability], list[UUID]] = {}

    def ids(self, of: str, capability: Capability) -> list[UUID]:
        """Of the organizations, teams, projects or whole_organizations in which they may do this."""
        key = (of, capability)
        if key not in self._ids:
            self._ids[key] = list(getattr(access, of)(self.person, capability).order_by().values_list("pk", flat=True))
        return self._ids[key]

    def rows(self, place: Place, capability: Capability | None) -> Q:
        """The rows of a table that the capability reaches."""
        if capability is None or capability not in self.anywhere:
            return Q(pk__in=[])
        if place == EVERYBODYS:
            return Q()
        reached = Q(pk__in=[])
        for path in place.projects:
            reached |= Q((f"{path}__in", self.ids("projects", capability)))
        for path in place.teams:
            reached |= Q((f"{path}__in", self.ids("teams", capability)))
        if place.organization:
            narrower = [*place.projects, *place.teams, *filter(None, [place.person])]
            of_nobody_else = {f"{path}__isnull": True for path in narrower}
            mine = Q((f"{place.organization}__in", self.ids("organizations", capability)))
            reached |= Q((f"{place.organization}__in", self.ids("whole_organizations", capability)))
            reached |= mine & Q(**of_nobody_else)
            if place.person:
                reached |= mine & Q((place.person, self.person.pk))
        return reached


def sight_of(request: HttpRequest) -> Sight:
    """Kept with the request. Whoever tests with one request for two people takes two."""
    kept: Sight | None = getattr(request, "sight", None)
    if kept is None or kept.person != request.user:
        kept = Sight(request)
        request.sight = kept  # type: ignore[attr-defined]
    return kept


def organizations_seen(request: HttpRequest, permission: str, capability: Capability) -> QuerySet[Organization]:
    """All organizations for whoever has Django's permission, and for others those in which their role may do this."""
    if request.user.has_perm(permission):
        return Organization.objects.all()
    return access.organizations(request.user, capability)


Action: TypeAlias = Callable[[Any, HttpRequest, QuerySet[Any]], Any]


class Scoped:
    """A `ModelAdmin` whose every page, action and choice keeps to the rows that the person may see or change."""

    place: ClassVar[Place] = EVERYBODYS
    sees: ClassVar[Capability | None] = None
    changes: ClassVar[Capability | None] = None
    acts: ClassVar[Mapping[str, Act]] = {}

    model: Any
    opts: Any
    admin_site: admin.AdminSite

    # --- Who may what -----------------------------------------------------------------------------------------------
    def may(self, request: HttpRequest, act: str, obj: Any = None) -> bool:
        """Whether the person may do this with the row; without one, with any row at all."""
        if self._by_django(request, act):
            return True
        capability = self._capability(act)
        if capability is None or capability not in sight_of(request).anywhere:
            return False
        if obj is None:
            return True
        key = obj.pk if isinstance(obj, Model) else obj
        found: bool = self.model._default_manager.filter(self._rows(request, act), pk=key).exists()
        return found

    def allowed(self, request: HttpRequest, act: str) -> QuerySet[Any]:
        """The rows with which the person may do this."""
        rows: QuerySet[Any] = self.model._default_manager.all()
        return rows if self._by_django(request, act) else rows.filter(self._rows(request, act))

    def sees_everything(self, request: HttpRequest) -> bool:
        """Whether Django's permissions open the page, and with it every row."""
        return any(self._by_django(request, act) for act in ("view", "change", "add", "delete"))

    def is_by_role(self, request: HttpRequest) -> bool:
        """Whether the person is here by a role, and not as one of the staff."""
        return not self.sees_everything(request)

    def _by_django(self, request: HttpRequest, act: str) -> bool:
        if act in self.acts:
            return request.user.has_perm(self.acts[act].permission)
        names = ("view", "change") if act == "view" else (act,)
        label, model = self.opts.app_label, self.opts.model_name
        return any(request.user.has_perm(f"{label}.{name}_{model}") for name in names)

    def _capability(self, act: str) -> Capability | None:
        if act in self.acts:
            return self.acts[act].capability
        return self.sees if act == "view" else self.changes

    def _rows(self, request: HttpRequest, act: str) -> Q:
        return sight_of(request).rows(self.place, self._capability(act))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.sees_everything(request) or self.may(request, "view")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "view", obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "change", obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "delete", obj)

    # --- Rows -------------------------------------------------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request)  # type: ignore[misc]
        return found if self.sees_everything(request) else found.filter(self._rows(request, "view"))

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> Any:
        """What one may not see is not there: the same answer to both."""
        raise Http404(f"There is no {opts.verbose_name} of this id.")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Looks once more, at what was stored: nobody moves a row to where they may not, or makes one there."""
        super().save_related(request, form, formsets, change)  # type: ignore[misc]
        if not self.may(request, "change" if change else "add", form.instance):
            raise PermissionDenied

    # --- Actions ----------------------------------------------------------------------------------------------------
    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Each gets those of the chosen rows with which the person may do it."""
        found: dict[str, Any] = super().get_actions(request)  # type: ignore[misc]
        return {name: (self._narrowed(action), *rest) for name, (action, *rest) in found.items()}

    def _narrowed(self, action: Action) -> Action:
        acts = getattr(action, "allowed_permissions", ["change"])

        @wraps(action)
        def carry_out(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
            for act in acts:
                if not self._by_django(request, act):
                    queryset = queryset.filter(self._rows(request, act))
            return action(model_admin, request, queryset)

        return carry_out

    # --- Choices ----------------------------------------------------------------------------------------------------
    def get_autocomplete_fields(self, request: HttpRequest) -> Any:
        """Without those whose list the person may not see; they become a choice of the few that they may."""
        names = super().get_autocomplete_fields(request)  # type: ignore[misc]
        return [name for name in names if self._may_look_up(request, self.opts.get_field(name).remote_field.model)]

    def _may_look_up(self, request: HttpRequest, model: Any) -> bool:
        other = self.admin_site._registry.get(model)
        return other is not None and other.has_view_permission(request)

    def formfield_for_foreignkey(self, db_field: "Field[Any, Any]", request: HttpRequest, **kwargs: Any) -> Any:
        return super().formfield_for_foreignkey(db_field, request, **self._choices(db_field, request, kwargs))  # type: ignore[misc]

    def formfield_for_manytomany(self, db_field: "Field[Any, Any]", request: HttpRequest, **kwargs: Any) -> Any:
        return super().formfield_for_manytomany(db_field, request, **self._choices(db_field, request, kwargs))  # type: ignore[misc]

    def _choices(self, db_field: Any, request: HttpRequest, given: dict[str, Any]) -> dict[str, Any]:
        if any(self._by_django(request, act) for act in ("add", "change")) or "queryset" in given:
            return given
        return {**given, "queryset": self._to_choose_from(request, db_field.remote_field.model)}

    def _to_choose_from(self, request: HttpRequest, model: Any) -> QuerySet[Any]:
        """The rows of another table that the person may put into a row of this one."""
        sight, rows = sight_of(request), model._default_manager.all()
        chosen: QuerySet[Any] = rows.none()
        if self.changes is None:
            return chosen
        if model is Organization or model is User:
            # A team's lead works in an organization whose other teams they may change nothing in.
            homes = Q(pk__in=sight.ids("organizations", self.changes)) | Q(teams__in=sight.ids("teams", self.changes))
            organizations = Organization.objects.filter(homes).values("pk")
            if model is Organization:
                return Organization.objects.filter(pk__in=organizations)
            members = Membership.objects.filter(organization__in=organizations).values("user")
            return User.objects.filter(pk__in=members)
        other: Any = self.admin_site._registry.get(model)
        if isinstance(other, Scoped):
            chosen = rows.filter(sight.rows(other.place, self.changes))
        return chosen


class RelatedFilter(admin.RelatedFieldListFilter):
    """Lists what the person may see, and no other choice."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[Any]:
        is_limited = isinstance(model_admin, Scoped) and not model_admin.sees_everything(request)
        if not is_limited:
            return super().field_choices(field, request, model_admin)
        other: Any = model_admin.admin_site._registry.get(field.remote_field.model)
        seen = other.get_queryset(request) if isinstance(other, Scoped) else field.remote_field.model.objects.none()
        ordering = self.field_admin_ordering(field, request, model_admin)
        found: list[Any] = field.get_choices(
            include_blank=False, ordering=ordering, limit_choices_to={"pk__in": seen.values("pk")}
        )
        return found


# For every page, so that none can forget it.
admin.FieldListFilter.register(lambda field: bool(field.remote_field), RelatedFilter, take_priority=True)
