"""The demo data: invented, but booked as anything is: its books agree, and it touches nothing else."""

from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings

from accounts import audit_verification
from accounts.models import Membership, Organization, User
from billing import history
from billing.models import (
    Alert,
    Budget,
    ClosedMonth,
    DayRollup,
    Quota,
    QuotaRequest,
    ReconciliationDecision,
    Reservation,
    ReviewedLine,
    WebhookEndpoint,
)
from billing.verification import verify
from jobs.models import Doubt, Job
from jobs.states import JobStatus
from tests.conftest import QUICK_HASHERS, make_tenant

pytestmark = pytest.mark.django_db

PASSWORD = "of the demo, for tests"


def run(**options) -> str:
    said = StringIO()
    call_command("seed_demo_data", jobs=400, password=PASSWORD, stdout=said, **options)
    return said.getvalue()


@pytest.fixture(scope="module")
def seeded(django_db_setup, django_db_blocker) -> Iterator[str]:
    """What the command said; made once, since it takes a while."""
    with django_db_blocker.unblock(), transaction.atomic():
        with override_settings(PASSWORD_HASHERS=QUICK_HASHERS):
            said = run()
        yield said
        transaction.set_rollback(True)


@pytest.fixture(autouse=True)
def _taken_back(seeded) -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def made(suffix: str = "") -> list[Organization]:
    return [Organization.objects.get(slug=f"demo-{name}{suffix}") for name in ("larkspur", "harbor", "fernhill")]


def test_the_books_of_the_demo_data_agree(seeded):
    for organization in made():
        assert verify(organization) == []
        assert Job.objects.filter(organization=organization).count() > 20
        assert ClosedMonth.objects.filter(organization=organization).count() >= 5
        assert set(Doubt.objects.filter(attempt__job__organization=organization).values_list("status", flat=True)) == {
            "open",
            "presumed_spent",
        }
        assert Reservation.objects.filter(organization=organization, status="open", is_in_doubt=True).count() == 3
        scopes = set(Quota.objects.filter(organization=organization).values_list("scope", flat=True))
        assert scopes == {"organization", "team", "project", "member", "key"}
        assert Job.objects.filter(organization=organization, status=JobStatus.QUEUED).count() >= 13
        asked = QuotaRequest.objects.filter(organization=organization)
        assert sorted(asked.values_list("status", flat=True)) == ["approved", "pending", "pending", "refused"]
        reviewed = ReviewedLine.objects.filter(organization=organization)
        assert set(reviewed.values_list("state", flat=True)) >= {"questioned", "approved"}
        endpoint = WebhookEndpoint.objects.get(organization=organization)
        assert endpoint.disabled_at is not None
        assert set(endpoint.deliveries.values_list("status", flat=True)) == {"delivered", "pending"}
    assert ReconciliationDecision.objects.exists()
    assert Alert.objects.filter(kind="drift").exists()
    over = [budget for budget in Budget.objects.all() if budget.quota_id is None and budget.spent > budget.limit]
    assert over == []
    assert [one.found for one in audit_verification.verify() if one.found] == []


def test_everybody_can_sign_in_and_is_told_once(seeded):
    assert seeded.count(PASSWORD) == 1
    for organization in made():
        for membership in Membership.objects.filter(organization=organization).select_related("user"):
            assert f"{membership.user.email} " in seeded
            assert membership.user.check_password(PASSWORD)
    assert not User.objects.filter(email__endswith=".example", is_superuser=True).exists()


def test_a_second_run_changes_nothing_and_another_makes_three_more_of_the_same_figures(seeded):
    before = Job.objects.count()
    assert "is there: demo-fernhill, demo-harbor, demo-larkspur" in run()
    assert Job.objects.count() == before
    run(again=True)

    def days(organization: Organization) -> list[tuple]:
        rows = DayRollup.objects.filter(organization=organization).order_by("day", "calls", "total_usd")
        today = rows.last().day
        return list(rows.filter(day__lt=today).values_list("day", "calls", "total_usd", "reasoning_tokens"))

    for first, second in zip(made(), made("-2"), strict=True):
        assert days(first) == days(second)
        assert verify(second) == []


def test_another_seed_makes_other_figures():
    run(seed=2, again=True)
    for first, second in zip(made(), made("-2"), strict=True):
        sums = [sum(row.total_usd for row in DayRollup.objects.filter(organization=each)) for each in (first, second)]
        assert sums[0] != sums[1]


def test_no_organization_that_has_a_book_is_given_a_past():
    alice = make_tenant("Alice")
    with pytest.raises(history.HasABook), transaction.atomic():
        history.write(made()[0], [])
    assert not Job.objects.filter(organization=alice.organization).exists()
