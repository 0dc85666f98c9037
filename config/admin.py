"""The admin site of Bursar: its name, the order of its index, and room for pages that belong to no single model."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, path, reverse
from unfold.sites import UnfoldAdminSite

from accounts import access, audit
from accounts.models import AuditAction, User
from accounts.sign_in import SignInForm
from config import navigation
from config.second_step import SecondStep, SignIn, is_missing, settings_page

# As people come to need them; other apps follow by name.
APP_ORDER = ("jobs", "billing", "accounts")


@runtime_checkable
class HasPages(Protocol):
    """A model's admin that brings pages of its own, beside the model's."""

    def page_urls(self) -> list[URLPattern]:
        """Their paths, below the admin's root."""
        ...

    def page_links(self, request: HttpRequest) -> list[dict[str, Any]]:
        """Those that this user may open, as the index lists them: in the shape of `AdminSite.get_app_list`'s models."""
        ...


@runtime_checkable
class Lands(Protocol):
    """A model's admin that says where the index leads."""

    def landing(self, request: HttpRequest) -> HttpResponse | None:
        """What people see first; None where this has nothing for them."""
        ...


class Choices(AutocompleteJsonView):
    """The choices of an autocomplete field. What belongs to an organization names it: names repeat."""

    def get_queryset(self) -> Any:
        found = super().get_queryset()
        return found.select_related("organization") if self._has_organization(found.model) else found

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        result: dict[str, str] = super().serialize_result(obj, to_field_name)
        return {**result, "text": f"{obj.organization}: {obj}"} if self._has_organization(type(obj)) else result

    @staticmethod
    def _has_organization(model: Any) -> bool:
        return any(field.name == "organization" for field in model._meta.fields)


class Sees:
    """What templates ask before they link somewhere: `{% if sees.usagerecord %}`, by the model's name."""

    def __init__(self, site: "BursarAdminSite", request: HttpRequest):
        self._site, self._request = site, request

    def __getitem__(self, name: str) -> bool:
        for model, model_admin in self._site._registry.items():
            if model._meta.model_name == name:
                return bool(model_admin.has_view_permission(self._request))
        raise KeyError(name)


class BursarAdminSite(UnfoldAdminSite):
    index_title = "Overview"

    def get_urls(self) -> list[Any]:
        pages: list[URLPattern | URLResolver] = [url for _, owner in self._pages() for url in owner.page_urls()]
        # Nothing here has a page outside, and Django's way there tells which ids there are.
        others = [url for url in super().get_urls() if getattr(url, "name", None) != "view_on_site"]
        second_step = [
            path("second-step/", SecondStep.as_view(site=self), name="second_step"),
            path("account/second-step/", self.admin_view(self.second_step_settings), name="second_step_settings"),
        ]
        tables = path("tables/", self.admin_view(self.tables), name="tables")
        return [*second_step, *pages, tables, *others]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "GET" and self.has_permission(request):
            return redirect("admin:index")
        context = {
            **self.each_context(request),
            "title": "Sign in",
            "subtitle": None,
            "app_path": request.get_full_path(),
            "username": request.user.get_username(),
            **(extra_context or {}),
        }
        if "next" not in request.GET and "next" not in request.POST:
            context["next"] = reverse("admin:index")
        request.current_app = self.name
        page = SignIn.as_view(extra_context=context, authentication_form=SignInForm, template_name="admin/login.html")
        answer: HttpResponse = page(request)  # type: ignore[assignment]
        return answer

    def second_step_settings(self, request: HttpRequest) -> HttpResponse:
        return settings_page(self, request)

    def has_permission(self, request: HttpRequest) -> bool:
        """The staff, and whoever is a member somewhere; what each finds there is another question."""
        return access.has_place(request.user) and not is_missing(request)

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Unfold's search over the whole admin is off: it keeps answers for minutes, also of rights that are gone."""
        raise Http404

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context: dict[str, Any] = super().each_context(request)
        if self.has_permission(request):
            context["sidebar_navigation"] = navigation.sidebar(context["available_apps"], request.path)
        return {**context, "sees": Sees(self, request)}

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The dashboard of the one organization that a person sees, or the choice of them; else all tables."""
        for _, owner in self._pages():
            answer = owner.landing(request) if isinstance(owner, Lands) else None
            if answer is not None:
                return answer
        return super().index(request, extra_context)

    def tables(self, request: HttpRequest) -> HttpResponse:
        """Every table and page that the person may open."""
        page: HttpResponse = super().index(request)
        return page

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps: list[Any] = super().get_app_list(request, app_label)
        for app in apps:
            owners = [owner for label, owner in self._pages() if label == app["app_label"]]
            links = [link for owner in owners for link in owner.page_links(request)]
            app["models"] = [*sorted(links, key=lambda link: link["name"]), *app["models"]]
        places = {label: place for place, label in enumerate(APP_ORDER)}
        return sorted(apps, key=lambda app: places.get(app["app_label"], len(places)))

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        choices: HttpResponse = Choices.as_view(admin_site=self)(request)  # type: ignore[assignment]
        return choices

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """One's own; that it changed is in the audit trail, in the same transaction."""
        with transaction.atomic():
            before = getattr(request.user, "password", "")
            page: HttpResponse = super().password_change(request, extra_context)
            user = request.user
            if isinstance(user, User) and user.password != before:
                hidden = {"password": audit.HIDDEN}
                by = audit.who(request)
                audit.record_about(user, AuditAction.UPDATED, by=by, before=hidden, after=hidden)
        return page

    def _pages(self) -> Iterator[tuple[str, HasPages]]:
        for model, model_admin in self._registry.items():
            if isinstance(model_admin, HasPages):
                yield model._meta.app_label, model_admin
