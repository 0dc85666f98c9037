"""What every route below `/v1` that has to do with jobs has in common."""

from typing import Any

from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.api.openai_view import OpenAIView
from jobs.credentials import access_of
from jobs.front_door.turns import turn


class ClientView(OpenAIView):
    """A view for clients that may name, beside the key, the organization and the project that they mean."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticates, and refuses a key that is not of the organization or project that the client names."""
        super().initial(request, *args, **kwargs)
        for kind, known in (("organization", self._organization_names), ("project", self._project_names)):
            header = f"OpenAI-{kind.capitalize()}"
            named = request.headers.get(header, "").strip()
            if named and named not in known():
                text = f"The {header} header names another {kind} than the API key belongs to: send its own, or none."
                raise AuthenticationFailed(text, code=f"mismatched_{kind}")

    def _organization_names(self) -> set[str | None]:
        """What clients may call the key's organization: its id or slug here, or its id at the provider."""
        organization = self.api_key.project.organization
        access = access_of(self.api_key.project)
        return {str(organization.pk), organization.slug, access.provider_organization_id}

    def _project_names(self) -> set[str | None]:
        project = self.api_key.project
        return {str(project.pk), project.slug, access_of(project).provider_project_id}


class WaitingView(ClientView):
    """A view whose requests wait for jobs: its paths are among `turns.WAITING_PATHS`, and it has a connection to the
    database only inside a turn.
    """

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        with turn():
            super().initial(request, *args, **kwargs)
