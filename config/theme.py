"""How the admin looks: name, mark and colours for django-unfold. What its sidebar lists is `config.navigation`'s."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.templatetags.static import static
from django.utils.safestring import mark_safe

# Shades from light to dark. 600 is what buttons are filled with and links written in on white, 500 the same on dark:
# each has a contrast of 4.5 at least.
PRIMARY = {
    "50": "oklch(97.5% .012 215)",
    "100": "oklch(94.5% .03 215)",
    "200": "oklch(89% .055 215)",
    "300": "oklch(82% .09 217)",
    "400": "oklch(76% .11 218)",
    "500": "oklch(71% .11 220)",
    "600": "oklch(48% .085 222)",
    "700": "oklch(43% .078 224)",
    "800": "oklch(37% .066 227)",
    "900": "oklch(32% .054 230)",
    "950": "oklch(24% .04 233)",
}


def _file(name: str) -> Any:
    return lambda request: static(name)


_SIMULATOR = mark_safe('Simulator<span class="wide-only">: no real money</span>')

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Bursar",
    "SITE_HEADER": "Bursar",
    "SITE_SUBHEADER": "Jobs, spend and limits",
    "SITE_URL": "/api/v1/docs",
    "SITE_ICON": _file("bursar/mark.svg"),
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _file("bursar/mark.svg")}],
    "SHOW_VIEW_ON_SITE": False,
    "COLORS": {
        "primary": PRIMARY,
        # Unfold's own are too faint on its greys.
        "font": {
            "subtle-light": "var(--color-base-600)",
            "subtle-dark": "var(--color-base-300)",
            "default-light": "var(--color-base-700)",
            "default-dark": "var(--color-base-200)",
        },
    },
    "STYLES": [_file("billing/admin.css")],
    "SCRIPTS": [_file("bursar/reachable.js")],
    "ENVIRONMENT": "config.theme.environment",
    "ENVIRONMENT_TITLE_PREFIX": "config.theme.title_prefix",
}


def environment(request: HttpRequest) -> list[str] | None:
    """The label at the head of every page: with the simulator behind it, no figure is real money."""
    return [_SIMULATOR, "warning"] if settings.PROVIDER_IS_SIMULATOR else None


def title_prefix(request: HttpRequest) -> str:
    return "[Simulator]" if settings.PROVIDER_IS_SIMULATOR else ""
