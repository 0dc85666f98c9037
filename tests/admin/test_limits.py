"""What is saved in the admin counts at once: the open budgets follow in the same transaction."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Organization, Payment, Project, Team, TierOverride, UsageTier, User
from billing.models import Book, Budget, LedgerEntry, Quota
from tests.admin.conftest import cells, make_quota, reserve, spend


@pytest.fixture(autouse=True)
def some_spend(project: Project) -> None:
    spend(project)


def limit_of(organization: Organization, project: Project | None = None) -> Decimal:
    return Budget.objects.get(organization=organization, project=project, quota=None).limit


def add(admin: Client, model: str, /, **fields) -> None:
    answer = admin.post(reverse(f"admin:{model}_add"), fields)
    assert answer.status_code == 302, answer.context["adminform"].errors


def delete_by_action(admin: Client, model: str, pk: object) -> None:
    form = {"action": "delete_selected", "_selected_action": [str(pk)], "post": "yes"}
    assert admin.post(reverse(f"admin:{model}_changelist"), form).status_code == 302


def quota_form(organization: Organization, **fields) -> dict[str, object]:
    """What the form of a new quota sends: a monthly hard limit in dollars, unless told otherwise."""
    return {
        "organization": organization.pk,
        "scope": "project",
        "measure": "usd",
        "model": "",
        "window": "month",
        "is_hard": "on",
        **fields,
    }


def change_form(quota: Quota, **fields) -> dict[str, object]:
    """What the form of a stored quota sends."""
    return {
        "measure": quota.measure,
        "model": quota.model,
        "window": quota.window,
        "limit": quota.limit,
        "is_hard": "on" if quota.is_hard else "",
        **fields,
    }


def change(admin: Client, quota: Quota, /, **fields) -> None:
    url = reverse("admin:billing_quota_change", args=[quota.pk])
    answer = admin.post(url, change_form(quota, **fields))
    assert answer.status_code == 302, answer.context["adminform"].errors
    quota.refresh_from_db()


def used(quota: Quota) -> tuple[Decimal, Decimal, Decimal]:
    """Limit, spent and held of the quota in its open window."""
    budget = Budget.objects.get(quota=quota)
    return budget.limit, budget.spent, budget.held


def test_quota(admin: Client, project: Project):
    organization = project.organization
    add(admin, "billing_quota", **quota_form(organization, project=project.pk, limit="20.5"))
    quota = Quota.objects.get()
    assert used(quota) == (Decimal("20.5"), Decimal("0.077385"), 0)
    reserve(project, "2")
    change(admin, quota, limit="0")
    assert used(quota) == (0, Decimal("0.077385"), 2)
    assert limit_of(organization, project) == limit_of(organization) == 50_000
    entries = LedgerEntry.objects.count()
    url = reverse("admin:billing_quota_delete", args=[quota.pk])
    assert "budget" in admin.get(url).text
    answer = admin.post(url, {"post": "yes"}, follow=True)
    assert "what was counted for it is kept" in answer.text
    quota.refresh_from_db()
    assert quota.expires_at <= timezone.now()
    assert used(quota) == (0, Decimal("0.077385"), 2)
    assert Budget.objects.get(organization=organization, project=project, quota=None).held == 2
    assert LedgerEntry.objects.count() == entries


def test_quotas_deleted_by_action(admin: Client, project: Project):
    add(admin, "billing_quota", **quota_form(project.organization, project=project.pk, limit="20"))
    make_quota(project, "5", measure="jobs")
    for quota in Quota.objects.all():
        delete_by_action(admin, "billing_quota", quota.pk)
    assert Quota.objects.get().expires_at <= timezone.now()  # it was used; the other never was
    assert limit_of(project.organization, project) == 50_000


def test_staff_who_may_delete_quotas_need_no_right_to_budgets(staff_with, project: Project):
    quota = make_quota(project, "20")
    reserve(project)
    staff = staff_with("billing.delete_quota", "billing.view_quota")
    assert staff.post(reverse("admin:billing_quota_delete", args=[quota.pk]), {"post": "yes"}).status_code == 302
    assert Quota.objects.get().expires_at <= timezone.now()


def test_jobs_a_week_and_jobs_a_day_of_one_model(admin: Client, project: Project):
    """Each counts what was used before it was made: one call of o1-preview."""
    jobs = {"project": project.pk, "limit": "50", "measure": "jobs"}
    add(admin, "billing_quota", **quota_form(project.organization, **jobs, window="week"))
    add(admin, "billing_quota", **quota_form(project.organization, **jobs, window="day", model="o1-mini"))
    weekly, daily = Quota.objects.get(window="week"), Quota.objects.get(window="day")
    assert (used(weekly), used(daily)) == ((50, 1, 0), (50, 0, 0))
    spend(project, model="o1-mini")
    reserve(project, model="o1-mini")
    assert (used(weekly), used(daily)) == ((50, 2, 1), (50, 1, 1))
    page = admin.get(reverse("admin:billing_quota_changelist")).text
    for text in ("50 jobs", "2 jobs", "47 jobs", "48 jobs", "o1-mini", "every model", "Alice research"):
        assert text in page, text
    page = admin.get(reverse("admin:billing_quota_change", args=[daily.pk])).text
    assert "1 job spent, 1 job held, 48 jobs remaining, of 50 jobs." in page


@pytest.mark.parametrize(
    ("measure", "spent", "held"),
    [("usd", "0.077385", "2"), ("tokens", 1322, 3000), ("output_tokens", 1279, 2000), ("reasoning_tokens", 1024, 2000)],
)
def test_what_is_counted_anew(admin: Client, project: Project, measure, spent, held):
    """A quota whose measure changes counts what was already used and is held, in its new measure."""
    reserve(project, "2")
    add(admin, "billing_quota", **quota_form(project.organization, project=project.pk, limit="9000", measure="jobs"))
    quota = Quota.objects.get()
    assert used(quota) == (9000, 1, 1)
    change(admin, quota, measure=measure)
    assert used(quota) == (9000, Decimal(spent), Decimal(held))
    change(admin, quota, model="o1-mini")
    assert used(quota) == (9000, 0, 0)
    change(admin, quota, model="", window="day", measure="jobs")
    assert used(quota) == (9000, 1, 1)


def test_window_that_becomes_fixed(admin: Client, project: Project):
    quota = make_quota(project, "5", measure="jobs")
    spend(project)
    assert used(quota) == (5, 2, 0)
    now = timezone.now()
    dates = {"starts_at": now - timedelta(days=9), "expires_at": now + timedelta(days=9)}
    split = {
        f"{name}_{part}": f"{at:{form}}"
        for name, at in dates.items()
        for part, form in enumerate(("%Y-%m-%d", "%H:%M:%S"))
    }
    change(admin, quota, window="fixed", **split)
    assert used(quota) == (5, 2, 0)
    assert Budget.objects.get(quota=quota).window_end == quota.expires_at
    split["expires_at_0"] = f"{now - timedelta(days=1):%Y-%m-%d}"
    form = change_form(quota, window="fixed", **split)
    answer = admin.post(reverse("admin:billing_quota_change", args=[quota.pk]), form)
    assert "expired instead" in str(answer.context["adminform"].errors)
    assert used(quota) == (5, 2, 0)
    Quota.objects.update(expires_at=now - timedelta(hours=1))
    assert "It does not bind now." in admin.get(reverse("admin:billing_quota_change", args=[quota.pk])).text
    assert admin.get(reverse("admin:billing_quota_changelist")).status_code == 200


def test_every_owner(admin: Client, alice, project: Project, owner: User):
    organization = project.organization
    team = Team.objects.create(organization=organization, name="Numbers")
    owners = {
        "organization": {},
        "team": {"team": team.pk},
        "project": {"project": project.pk},
        "member": {"member": owner.pk},
        "key": {"api_key": alice.api_key.api_key.pk},
    }
    for scope, fields in owners.items():
        add(admin, "billing_quota", **quota_form(organization, scope=scope, limit="5", **fields))
        assert Quota.objects.get(scope=scope).owner_name in admin.get(reverse("admin:billing_quota_changelist")).text


def errors_of(admin: Client, **form: object) -> str:
    """What the form of a new quota says about itself."""
    answer = admin.post(reverse("admin:billing_quota_add"), form)
    assert answer.status_code == 200
    assert not Quota.objects.exists()
    return str(answer.context["adminform"].errors)


def test_wrong_owner_is_refused(admin: Client, project: Project, other_project: Project, owner: User):
    organization = project.organization
    form = quota_form(organization, limit="5")
    assert "A quota of scope project needs its project." in errors_of(admin, **form)
    both = {**form, "project": project.pk, "member": owner.pk}
    assert "A quota of scope project has no member." in errors_of(admin, **both)
    whole = {**form, "scope": "organization", "project": project.pk}
    assert "A quota of scope organization has no project." in errors_of(admin, **whole)
    keyless = {**form, "scope": "key"}
    assert "A quota of scope key needs its api key." in errors_of(admin, **keyless)
    foreign = {**form, "project": other_project.pk}
    assert "This belongs to another organization." in errors_of(admin, **foreign)
    assert "Select a valid choice" in errors_of(admin, **{**form, "project": project.pk, "scope": "planet"})
    assert "Select a valid choice" in errors_of(admin, **{**form, "project": project.pk, "model": "o1-minni"})
    assert "This field is required" in errors_of(admin, **{**form, "project": project.pk, "organization": ""})


def test_impossible_quotas_are_refused(admin: Client, project: Project):
    form = quota_form(project.organization, project=project.pk, limit="5")
    assert "greater than or equal to 0" in errors_of(admin, **{**form, "limit": "-1"})
    assert "set both" in errors_of(admin, **{**form, "window": "fixed"})
    backwards = {
        "starts_at_0": "2100-10-02",
        "starts_at_1": "00:00:00",
        "expires_at_0": "2100-10-01",
        "expires_at_1": "00:00:00",
    }
    assert "expires after it starts" in errors_of(admin, **form, **backwards)


def test_refused_change_shows_the_form_again(admin: Client, project: Project):
    quota = make_quota(project, "5")
    url = reverse("admin:billing_quota_change", args=[quota.pk])
    answer = admin.post(url, change_form(quota, window="fixed"))
    assert "set both" in str(answer.context["adminform"].errors)
    assert "$4.922615 remaining, of $5.00" in answer.text
    answer = admin.post(url, change_form(quota, window="", measure="miles", limit="much"))
    assert set(answer.context["adminform"].errors) == {"window", "measure", "limit"}


def test_organization_that_was_never_used_is_deleted(admin: Client):
    """Saving it opens no book, which would keep it for ever."""
    memberships = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
    add(admin, "accounts_organization", name="Bare", slug="bare", terms_on="", **memberships)
    organization = Organization.objects.get(slug="bare")
    url = reverse("admin:accounts_organization_delete", args=[organization.pk])
    assert admin.post(url, {"post": "yes"}).status_code == 302
    assert not Organization.objects.filter(slug="bare").exists()


def test_book_and_seals(admin: Client, organization: Organization):
    book = Book.objects.get(organization=organization)
    assert book.head_seal in admin.get(reverse("admin:billing_book_changelist")).text
    last = LedgerEntry.objects.get(organization=organization, sequence=book.head_sequence)
    assert book.head_seal in admin.get(reverse("admin:billing_ledgerentry_change", args=[last.pk])).text
    listed = cells(admin.get(reverse("admin:billing_ledgerentry_changelist")).text, "sequence")
    assert str(book.head_sequence) in listed


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
    form = {"name": organization.name, "slug": organization.slug, "terms_on": "2040-06-01", "dispatch_weight": 1}
    form |= memberships
    page = reverse("admin:accounts_organization_change", args=[organization.pk])
    assert admin.post(page, form).status_code == 302
    assert limit_of(organization) == 123_456
