"""What the routes below `/v1/organization` have in common: management keys, and amounts with all of their digits."""

import json
from decimal import Decimal
from typing import Any

from rest_framework.renderers import BaseRenderer

from accounts.api.management import ManagementView
from accounts.api.openai_view import OpenAIView
from accounts.money import usd


class ExactJSONRenderer(BaseRenderer):
    """JSON in which a Decimal is a number with every digit that it has.

    The provider has amounts as numbers. Python's own encoder would make floats of them, and the framework's texts.
    """

    media_type = "application/json"
    format = "json"
    charset = None  # JSON is UTF-8 and has no such parameter

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else written(data).encode()


def written(value: Any) -> str:
    """The JSON text of a value of dicts, lists, texts, whole numbers, booleans, None and Decimals."""
    match value:
        case Decimal():
            return usd(value)
        case dict():
            return "{" + ",".join(f"{json.dumps(name)}:{written(part)}" for name, part in value.items()) + "}"
        case list():
            return "[" + ",".join(map(written, value)) + "]"
        case _:
            return json.dumps(value)


class AdministrationView(OpenAIView, ManagementView):
    """A view of the provider's administration API: it takes a management key where the provider takes an admin key."""

    renderer_classes = [ExactJSONRenderer]
