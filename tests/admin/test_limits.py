"""What is saved in the admin counts at once: the budgets of the month follow in the same transaction."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Organization, Payment, Project, TierOverride, UsageTier, User
from billing.models import Budget, Quota
from tests.admin.conftest import spend


@pytest.fixture(autouse=True)
def some_spend(project: Project) -> None:
    spend(project)


def limit_of(organization: Organization, project: Project | None = None) -> Decimal:
    return Budget.objects.get(organization=organization, project=project).limit_usd


def add(admin: Client, model: str, **fields) -> None:
    answer = admin.post(reverse(f"admin:{model}_add"), fields)
    assert answer.status_code == 302, answer.context["adminform"].errors


def delete_by_action(admin: Client, model: str, pk: object) -> None:
    form = {"action": "delete_selected", "_selected_action": [str(pk)], "post": "yes"}
    assert admin.post(reverse(f"admin:{model}_changelist"), form).status_code == 302


def test_quota(admin: Client, project: Project):
    organization = project.organization
    assert limit_of(organization, project) == 50_000
    add(admin, "billing_quota", project=project.pk, limit_usd="20.5")
    assert limit_of(organization, project) == Decimal("20.5")
    assert limit_of(organization) == 50_000
    quota = Quota.objects.get()
    answer = admin.post(reverse("admin:billing_quota_change", args=[quota.pk]), {"limit_usd": "0"})
    assert answer.status_code == 302
    assert limit_of(organization, project) == 0
    assert admin.post(reverse("admin:billing_quota_delete", args=[quota.pk]), {"post": "yes"}).status_code == 302
    assert limit_of(organization, project) == 50_000


def test_quotas_deleted_by_action(admin: Client, project: Project):
    add(admin, "billing_quota", project=project.pk, limit_usd="20")
    delete_by_action(admin, "billing_quota", Quota.objects.get().pk)
    assert limit_of(project.organization, project) == 50_000


def test_negative_quota_is_refused(admin: Client, project: Project):
    answer = admin.post(reverse("admin:billing_quota_add"), {"project": project.pk, "limit_usd": "-1"})
    assert answer.status_code == 200
    assert not Quota.objects.exists()


def test_payment(admin: Client, organization: Organization):
    payment = Payment.objects.get(organization=organization)
    delete_by_action(admin, "accounts_payment", payment.pk)
    assert limit_of(organization) == 100  # the Free tier's
    day = timezone.now() - timedelta(days=10)
    paid_at = {"paid_at_0": f"{day:%Y-%m-%d}", "paid_at_1": "12:00:00"}
    add(admin, "accounts_payment", organization=organization.pk, amount_usd="60", reference="wire", **paid_at)
    assert limit_of(organization) == 500  # tier 2's


def test_payment_that_moves_to_another_organization(admin: Client, organization: Organization, other_project: Project):
    spend(other_project)
    Payment.objects.filter(organization=other_project.organization).delete()
    payment = Payment.objects.get(organization=organization)
    form = {
        "organization": other_project.organization_id,
        "amount_usd": payment.amount_usd,
        "paid_at_0": f"{payment.paid_at:%Y-%m-%d}",
        "paid_at_1": f"{payment.paid_at:%H:%M:%S}",
        "reference": "",
    }
    assert admin.post(reverse("admin:accounts_payment_change", args=[payment.pk]), form).status_code == 302
    assert limit_of(organization) == 100
    assert limit_of(other_project.organization) == 50_000


def test_tier_override(admin: Client, superuser: User, organization: Organization):
    add(
        admin,
        "accounts_tieroverride",
        organization=organization.pk,
        tier="2",
        reason="a trial",
        ends_at_0="",
        ends_at_1="",
    )
    override = TierOverride.objects.get()
    assert override.actor == superuser
    assert limit_of(organization) == 500
    page = reverse("admin:accounts_tieroverride_change", args=[override.pk])
    assert admin.post(page, {"tier": "5", "reason": "another"}).status_code == 403
    form = {"action": "end", "_selected_action": [str(override.pk)]}
    assert "1 ended" in admin.post(reverse("admin:accounts_tieroverride_changelist"), form, follow=True).text
    assert limit_of(organization) == 50_000
    assert "0 ended" in admin.post(reverse("admin:accounts_tieroverride_changelist"), form, follow=True).text


def test_tier_override_takes_a_reason(admin: Client, organization: Organization):
    form = {"organization": organization.pk, "tier": "2", "reason": " ", "ends_at_0": "", "ends_at_1": ""}
    assert "This field is required" in admin.post(reverse("admin:accounts_tieroverride_add"), form).text
    assert not TierOverride.objects.exists()


def test_usage_tier(admin: Client, organization: Organization):
    tier = UsageTier.objects.filter(number=5, effective_from__lte=organization.terms_on).latest("effective_from")
    form = {
        "number": "5",
        "name": tier.name,
        "minimum_paid_usd": tier.minimum_paid_usd,
        "minimum_days": tier.minimum_days,
        "monthly_limit_usd": "75000",
        "effective_from": tier.effective_from,
        "source": tier.source,
    }
    assert admin.post(reverse("admin:accounts_usagetier_change", args=[tier.pk]), form).status_code == 302
    assert limit_of(organization) == 75_000


def test_terms_of_an_organization(admin: Client, organization: Organization):
    UsageTier.objects.create(
        number=5,
        name="Tier 5",
        minimum_paid_usd=1000,
        minimum_days=30,
        monthly_limit_usd=123_456,
        effective_from=date(2040, 1, 1),
        source="a test",
    )
    memberships = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
    form = {"name": organization.name, "slug": organization.slug, "terms_on": "2040-06-01", **memberships}
    page = reverse("admin:accounts_organization_change", args=[organization.pk])
    assert admin.post(page, form).status_code == 302
    assert limit_of(organization) == 123_456
