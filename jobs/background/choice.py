"""Which calls are made in the background: by their model, if the request can be said that way."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from jobs.models import LanguageModel
from jobs.models.catalogue import Transport
from jobs.responses import Unmappable, request_of

# OpenAI's own, regions included; those that only speak like it may not have the endpoint.
OWN_HOST = "api.openai.com"


def runs_in_background(model: LanguageModel, base_url: str) -> bool:
    """Whether the catalogue wants calls of a model made so, and the operator lets them at this address.

    The provider has to keep the answer until it is looked at, so that there is no background without storing.
    """
    if model.transport != Transport.BACKGROUND or not settings.STORE_COMPLETIONS:
        return False
    if settings.BACKGROUND != "auto":
        return bool(settings.BACKGROUND == "on")
    if settings.PROVIDER_IS_SIMULATOR and base_url == settings.OPENAI_BASE_URL:
        return True
    host = urlsplit(base_url).hostname or ""
    return host == OWN_HOST or host.endswith("." + OWN_HOST)


def background_request(body: Mapping[str, Any], model: LanguageModel, base_url: str) -> dict[str, Any] | None:
    """The body of a call for the Responses API; None where it is a call of chat."""
    if not runs_in_background(model, base_url):
        return None
    try:
        return request_of(body)
    except Unmappable:
        return None
