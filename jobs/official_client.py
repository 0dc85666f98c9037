"""The provider's official client with the address and credentials of an access."""

from typing import Any, TypeVar

from openai import AsyncOpenAI, OpenAI

from jobs.credentials import Access

Client = TypeVar("Client", OpenAI, AsyncOpenAI)


def client_for(access: Access, kind: type[Client], http_client: Any) -> Client:
    """A client of this kind that sends its requests by `http_client`, each once."""
    client = kind(
        api_key=access.api_key or "unset",  # the provider's own 401 explains it better than the client's exception
        base_url=access.base_url,
        organization=access.provider_organization_id,
        project=access.provider_project_id,
        max_retries=0,  # a retry of the client's own is a second bill that no attempt knows of
        http_client=http_client,
    )
    # Where it is given none, the client takes the environment's ids, which belong to the environment's key.
    client.organization, client.project = access.provider_organization_id, access.provider_project_id
    return client
