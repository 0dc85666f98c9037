"""The cast of every test.

Alice's organization at tier 5 in September 2024's terms, and Bob's beside it, who must see none of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import override_settings
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer
from rest_framework.test import APIClient

from accounts import api_keys, remembered
from accounts.api_keys import IssuedKey
from accounts.models import Membership, Organization, Payment, Project, Role, User
from billing.ledger import Claim
from billing.limits import Owner
from billing.prices import price_on

SEPTEMBER_2024 = date(2024, 9, 30)
QUICK_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _no_static_files(settings) -> None:
    """No test lists every static file of the admin anew, and none warns that nothing was collected."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True)
def _cheap_passwords(settings) -> None:
    """The cast has passwords that hardly a test uses, and a proper hash takes half a second."""
    settings.PASSWORD_HASHERS = QUICK_HASHERS


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch) -> None:
    """What a test writes is there at once; the tests of memory itself switch it on again."""
    monkeypatch.setattr(remembered, "is_on", False)


@pytest.fixture(scope="session")
def live_server() -> Iterator[LiveServer]:
    """Bursar on a port of its own; static files come from their packages."""
    with override_settings(WHITENOISE_AUTOREFRESH=True):
        server = LiveServer("127.0.0.1")
    yield server
    server.stop()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """Memory is on, and grows old only when the test says so."""
    clock = Clock()
    monkeypatch.setattr(remembered, "monotonic", clock)
    monkeypatch.setattr(remembered, "is_on", True)
    return clock


@dataclass(frozen=True)
class Tenant:
    organization: Organization
    project: Project
    owner: User
    api_key: IssuedKey


def make_tenant(name: str, *, paid_usd: str = "1000", days_ago: int = 40) -> Tenant:
    """An organization with one payment, a project, its owner and a key of the project."""
    slug = name.lower()
    organization = Organization.objects.create(name=name, slug=slug, terms_on=SEPTEMBER_2024)
    if Decimal(paid_usd):
        Payment.objects.create(
            organization=organization, amount_usd=Decimal(paid_usd), paid_at=timezone.now() - timedelta(days=days_ago)
        )
    owner = User.objects.create_user(f"owner@{slug}.example", "a password for tests")
    Membership.objects.create(organization=organization, user=owner, role=Role.OWNER)
    project = Project.objects.create(organization=organization, name=f"{name} research", slug="research")
    return Tenant(organization, project, owner, api_keys.issue(project, name="tests", created_by=owner))


def make_claim(
    project: Project, usd: str, *, reference: UUID | None = None, output: int = 40_000, **owner: Any
) -> Claim:
    """A claim on a project's money, at the prices of September 2024; an o1-preview call of nobody in particular."""
    owner = {"model": "o1-preview", **owner}
    return Claim(
        reference=reference or uuid4(),
        amount_usd=Decimal(usd),
        input_tokens=0,
        output_tokens=output,
        owner=Owner(project, **owner),
        service_tier="standard",
        price=price_on([owner["model"]], "standard", SEPTEMBER_2024),
    )


@pytest.fixture
def alice(db) -> Tenant:
    return make_tenant("Alice")


@pytest.fixture
def bob(db) -> Tenant:
    return make_tenant("Bob")


@pytest.fixture
def organization(alice: Tenant) -> Organization:
    return alice.organization


@pytest.fixture
def project(alice: Tenant) -> Project:
    return alice.project


@pytest.fixture
def owner(alice: Tenant) -> User:
    return alice.owner


@pytest.fixture
def api_key(alice: Tenant) -> IssuedKey:
    return alice.api_key


@pytest.fixture
def other_project(bob: Tenant) -> Project:
    return bob.project


@pytest.fixture
def client(api_key: IssuedKey) -> APIClient:
    api_client = APIClient()
    api_client.credentials(HTTP_AUTHORIZATION=f"Bearer {api_key.secret}")
    return api_client
