"""No page asks the database more often because there are more rows."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import api_keys
from accounts.models import (
    IdempotencyRecord,
    Membership,
    Organization,
    Payment,
    Project,
    ProjectRateLimit,
    ProviderCredential,
    Team,
    TierOverride,
    User,
)
from jobs.models import Attempt
from tests.admin.conftest import finish_job, make_batch, make_job, make_quota, reserve
from tests.admin.test_every_page import OURS, page


def grow(organization: Organization, owner: User, count: int) -> None:
    """More rows of every model that grows."""
    have = Organization.objects.count()
    for number in range(have, have + count):
        other = Organization.objects.create(name=f"O{number}", slug=f"o{number}", terms_on=organization.terms_on)
        Payment.objects.create(organization=other, amount_usd=1000, paid_at="2024-01-01T00:00:00Z")
        user = User.objects.create_user(f"u{number}@bursar.example")
        Membership.objects.create(organization=other, user=user)
        Team.objects.create(organization=other, name="Numbers")
        project = Project.objects.create(organization=other, name=f"P{number}", slug="p")
        api_keys.issue(project, name="k", created_by=user)
        make_quota(project, "100")
        ProjectRateLimit.objects.create(project=project, model="o1-mini", tokens_per_day=1000)
        make_quota(project, "50", scope="organization", measure="jobs", window="week")
        make_quota(project, "9", scope="member", member=user, measure="tokens", window="day")
        TierOverride.objects.create(organization=other, tier=5, reason="a test", actor=user)
        credential = ProviderCredential(organization=other)
        credential.api_key = "sk-x"
        credential.save()
        finish_job(project, user)
        make_job(project, user)
        make_batch(project)
        reserve(project, "1")
        IdempotencyRecord.objects.create(project=project, key="k", created_at="2024-01-01T00:00:00Z")


def queries(client: Client, url: str) -> list[str]:
    client.get(url)  # content types and the like are kept from the first time on
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return [query["sql"] for query in captured]


@pytest.fixture
def lists() -> dict[str, str]:
    return {model._meta.label: page(model, "changelist") for model in OURS}


def test_lists_and_overview(admin: Client, organization: Organization, owner: User, lists):
    urls = {**lists, "spend": reverse("admin:organizations")}
    grow(organization, owner, 2)
    few = {name: queries(admin, url) for name, url in urls.items()}
    grow(organization, owner, 18)
    for name, url in urls.items():
        many = queries(admin, url)
        assert len(many) <= len(few[name]), (name, many)


def test_spend_of_an_organization(admin: Client, organization: Organization, project: Project, owner: User):
    url = reverse("admin:dashboard", args=[organization.pk])
    finish_job(project, owner)
    few = len(queries(admin, url))
    for number in range(20):
        other = Project.objects.create(organization=organization, name=f"P{number}", slug=f"p{number}")
        make_quota(other, "100")
        finish_job(other, owner)
    assert len(queries(admin, url)) == few


def test_attempts_of_a_job(admin: Client, finished):
    url = reverse("admin:jobs_job_change", args=[finished.job.pk])
    few = len(queries(admin, url))
    attempt = Attempt.objects.get(pk=finished.attempt.pk)
    for number in range(2, 12):
        attempt.pk, attempt.number = reserve(finished.job.project, "1"), number
        attempt._state.adding = True
        attempt.save()
    assert len(queries(admin, url)) == few
