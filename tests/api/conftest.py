"""The API as its clients use it; nothing is dispatched and no provider is called."""

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.conftest import Tenant

PROMPT = "Write a Python script that prints the transpose of a matrix."


def client_of(tenant: Tenant) -> APIClient:
    api_client = APIClient(raise_request_exception=False)
    api_client.credentials(HTTP_AUTHORIZATION=f"Bearer {tenant.api_key.secret}")
    return api_client


@pytest.fixture
def bobs_client(bob: Tenant) -> APIClient:
    return client_of(bob)


@pytest.fixture
def submit(client: APIClient) -> Callable[..., dict[str, Any]]:
    """Submits a job and returns its representation."""

    def submit(**body: Any) -> dict[str, Any]:
        response = client.post("/api/v1/jobs", {"model": "o1-mini", "prompt": PROMPT, **body}, format="json")
        assert response.status_code == 202, response.content
        return response.json()

    return submit
