"""The admin site of Bursar: its name, the order of its index, and room for pages that belong to no single model."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from django.contrib import admin
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver

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


class BursarAdminSite(admin.AdminSite):
    site_title = "Bursar"
    site_header = "Bursar"
    index_title = "Jobs, spend, and who may do what"
    site_url = "/api/v1/docs"

    def get_urls(self) -> list[Any]:
        pages: list[URLPattern | URLResolver] = [url for _, owner in self._pages() for url in owner.page_urls()]
        return [*pages, *super().get_urls()]

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

    def _pages(self) -> Iterator[tuple[str, HasPages]]:
        for model, model_admin in self._registry.items():
            if isinstance(model_admin, HasPages):
                yield model._meta.app_label, model_admin
