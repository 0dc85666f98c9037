"""What every route below `/v1` has in common, whichever app answers it."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.contract import ProjectView

# The version that the provider names in every answer; its clients show it beside errors (recorded answers, 2024 on).
OPENAI_VERSION = "2020-10-01"


class OpenAIView(ProjectView):
    """A view that answers as the provider does.

    It is not in Bursar's own schema, because the provider's describes it. Errors go out in the provider's envelope
    (`config.openai_errors`).
    """

    schema = None  # type: ignore[assignment]

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """The answer with the headers that the provider sends with each of its own."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response["openai-version"] = OPENAI_VERSION
        if request.auth is not None:
            response["openai-organization"] = str(self.api_key.project.organization_id)
            response["openai-project"] = str(self.api_key.project_id)
        return response
