"""The spend pages: their figures are the books', in every month, and only for those who may see them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.db.models import Sum
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from accounts.api_keys import issue
from accounts.models import Organization, Payment, Project, Team, TierOverride, User
from accounts.tiers import standing, standings
from billing import ledger, rollups
from billing.admin.chart import HEIGHT, chart_of
from billing.admin.figures import Fill, month_of_spend
from billing.admin.money import dollars
from billing.admin.months import Month, current_month, month_named
from billing.clock import database_now
from billing.models import Budget, Quota, UsageRecord
from billing.pricing import Tokens
from tests.admin.conftest import EMPTY_ANSWER, make_quota, reserve, sign_in, spend

OVERVIEW = reverse("admin:billing_spend")


def page_of(organization: Organization) -> str:
    return reverse("admin:billing_spend_organization", args=[organization.pk])


def copy_into(month: Month, record: UsageRecord) -> None:
    """The same call once more, in another month."""
    reservation = record.reservation
    reservation.pk, reservation.reference = uuid7(), uuid7()
    reservation.save(force_insert=True)
    record.pk, record.reservation = uuid7(), reservation
    record.window_start, record.booked_at = month.window.start, month.window.start + timedelta(days=3)
    record.save(force_insert=True)
    rollups.rebuild(record.organization)


def test_figures_equal_the_usage_records(admin: Client, project: Project, organization: Organization):
    second = Project.objects.create(organization=organization, name="Second", slug="second")
    spend(project)
    spend(project, EMPTY_ANSWER)
    spend(second, Tokens(input=1000, cached_input=400, output=10, reasoning=0), model="o1-mini")
    reserve(project, "1.5")
    figures = admin.get(page_of(organization)).context["figures"]
    expected = UsageRecord.objects.aggregate(
        *(
            Sum(name)
            for name in ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "total_usd")
        )
    )
    for name, value in expected.items():
        assert figures.total.totals[name.removesuffix("__sum")] == value
    spent = expected["total_usd__sum"]
    assert figures.organization == Fill(Decimal(50_000), spent, Decimal("1.5"))
    for lines in (figures.by_model, figures.by_day, [one.line for one in figures.projects]):
        assert sum(line.total_usd for line in lines) == spent
        assert sum(line.totals["calls"] for line in lines) == 3
    assert [one.owner.name for one in figures.projects] == ["Alice research", "Second"]
    assert figures.total.totals["empty_calls"] == 1
    assert figures.total.totals["empty_usd"] == Decimal("0.018645")


def test_the_golden_figures_in_words(admin: Client, project: Project, organization: Organization):
    spend(project)
    spend(project, EMPTY_ANSWER)
    page = admin.get(page_of(organization)).text
    total = "$0.09603 spent and $0.00 held of $50,000.00; $49,999.90397 remaining."
    assert page.count(f'aria-label="{total}"') == 2  # the organization's bar, and its only project's
    for text in ("$0.018645", "83.9 %", "Paid but empty", "o1-preview"):
        assert text in page, text
    assert "onclick" not in page
    assert 'style="' not in page[page.index('id="content-main"') :]


def test_one_project(admin: Client, project: Project, organization: Organization, other_project: Project):
    second = Project.objects.create(organization=organization, name="Second", slug="second")
    spend(project)
    spend(second)
    answer = admin.get(page_of(organization), {"project": str(second.pk)})
    figures = answer.context["figures"]
    assert figures.total.totals["calls"] == 1
    assert [one.owner for one in figures.projects] == [second]
    assert figures.organization.spent == 2 * figures.projects[0].fill.spent
    for wrong in (other_project.pk, "nonsense"):
        assert admin.get(page_of(organization), {"project": str(wrong)}).status_code == 404


def test_quota_is_the_projects_limit(admin: Client, project: Project, organization: Organization):
    make_quota(project, "30")
    make_quota(project, "20")
    for fields in (
        {"is_hard": False},
        {"window": "day"},
        {"model": "o1-mini"},
        {"measure": "jobs"},
        {"scope": "organization"},
        {"starts_at": database_now() + timedelta(days=1)},
        {"expires_at": database_now() - timedelta(days=1)},
    ):
        make_quota(project, "5", **fields)
    spend(project)
    reserve(project, "0.5")
    for _ in range(2):
        figures = admin.get(page_of(organization)).context["figures"]
        assert figures.projects[0].fill == Fill(Decimal(20), Decimal("0.077385"), Decimal("0.5"))
        assert figures.organization == Fill(Decimal(50_000), Decimal("0.077385"), Decimal("0.5"))
        Budget.objects.filter(quota__isnull=False).delete()  # nothing is opened: the tier's budget tells as much


def test_past_limit_is_the_one_of_then(admin: Client, project: Project, organization: Organization):
    """The tightest that was in force: of the quota's budget and not of the quota, which may have changed."""
    month = month_named("2025-02", database_now())
    assert month is not None
    for quota, limit in ((None, 100), (make_quota(project, "20"), 7), (make_quota(project, "5"), 9)):
        Budget.objects.create(
            organization=organization,
            project=project,
            scope="project",
            quota=quota,
            window_start=month.window.start,
            window_end=month.window.end,
            limit=limit,
        )
    figures = admin.get(page_of(organization), {"month": "2025-02"}).context["figures"]
    assert figures.projects[0].fill == Fill(Decimal(7), Decimal(0), Decimal(0))


def test_every_quota_of_a_project(admin: Client, alice, organization: Organization, project: Project, owner: User):
    """Of whatever level, measure and window; and none of another project, team, key or member."""
    team, others = (Team.objects.create(organization=organization, name=name) for name in ("Ours", "Theirs"))
    project.team = team
    project.save()
    stranger = User.objects.create_user("stranger@alice.example")
    second = Project.objects.create(organization=organization, name="Second", slug="second")
    key_of_second = issue(second, name="theirs", created_by=stranger).api_key
    spend(project)
    now = database_now()
    fixed = {"window": "fixed", "starts_at": now - timedelta(hours=1), "expires_at": now + timedelta(hours=1)}
    make_quota(project, "50", scope="organization", measure="jobs", window="week")
    make_quota(project, "5000", scope="team", team=team, measure="tokens", window="day", model="o1-preview")
    make_quota(project, "20")
    make_quota(project, "2000", scope="member", member=owner, measure="output_tokens", is_hard=False)
    make_quota(project, "100", scope="key", api_key=alice.api_key.api_key, measure="reasoning_tokens", **fixed)
    make_quota(second, "7")
    make_quota(project, "7", scope="team", team=others)
    make_quota(project, "7", scope="member", member=stranger)
    make_quota(project, "7", scope="key", api_key=key_of_second)
    answer = admin.get(page_of(organization), {"project": str(project.pk)})
    cells = {one["scope"]: one for one in answer.context["quotas"]}
    assert {scope: one["amounts"] for scope, one in cells.items()} == {
        "Organization": ["50 jobs", "1 jobs", "0 jobs", "49 jobs"],
        "Team": ["5,000 tokens", "1,322 tokens", "0 tokens", "3,678 tokens"],
        "Project": ["$20.00", "$0.077385", "$0.00", "$19.922615"],
        "Member": ["2,000 output tokens", "0 output tokens", "0 output tokens", "2,000 output tokens"],
        "Key": ["100 reasoning tokens", "0 reasoning tokens", "0 reasoning tokens", "100 reasoning tokens"],
    }
    assert len(answer.context["quotas"]) == 5
    assert cells["Member"]["is_hard"] is False
    assert cells["Team"]["model"] == "o1-preview"
    assert cells["Key"]["resets"] == f"{fixed['expires_at']:%Y-%m-%d %H:%M}"
    for text in ("49 jobs", "1,322 tokens", "$19.922615", "Quotas that bind it now"):
        assert text in answer.text, text
    past = admin.get(page_of(organization), {"project": str(project.pk), "month": "2025-02"})
    assert past.context["quotas"] == []
    Quota.objects.all().delete()
    assert "No quota binds this project" in admin.get(page_of(organization), {"project": str(project.pk)}).text


def test_corrections_are_spent_and_named(admin: Client, project: Project, organization: Organization, superuser: User):
    spend(project)
    with transaction.atomic():
        ledger.adjust(project, Decimal("-0.01"), reason="the provider's bill says less", actor=superuser)
    answer = admin.get(page_of(organization))
    figures = answer.context["figures"]
    assert figures.organization.spent == Decimal("0.067385")
    assert figures.total.total_usd == Decimal("0.077385")
    assert "-$0.01" in answer.text


def test_empty_month_says_what_to_do(admin: Client, project: Project, organization: Organization):
    page = admin.get(page_of(organization)).text
    assert "Nothing was spent" in page
    assert "Send a job" in page
    assert "<svg" in page  # the bar of an untouched limit
    bare = Organization.objects.create(name="Bare", slug="bare")
    assert admin.get(page_of(bare)).status_code == 200


def test_overview(admin: Client, project: Project, other_project: Project):
    spend(project)
    owned = {one.owner.name: one.fill for one in admin.get(OVERVIEW).context["owned"]}
    assert owned["Alice"] == Fill(Decimal(50_000), Decimal("0.077385"), Decimal(0))
    assert owned["Bob"] == Fill(Decimal(50_000), Decimal(0), Decimal(0))
    found = admin.get(OVERVIEW, {"q": "ali"}).context["owned"]
    assert [one.owner.name for one in found] == ["Alice"]
    assert "No organization" in admin.get(OVERVIEW, {"q": "zzz\x00"}).text


def test_overview_without_organizations(admin: Client):
    assert "There is no organization yet" in admin.get(OVERVIEW).text


def test_past_month(admin: Client, project: Project, organization: Organization):
    this_month = spend(project)
    month = month_named("2025-02", database_now())
    assert month is not None
    copy_into(month, this_month)
    answer = admin.get(page_of(organization), {"month": "2025-02"})
    figures = answer.context["figures"]
    assert figures.total.totals["calls"] == 1
    assert figures.organization == Fill(None, Decimal("0.077385"), Decimal(0))
    assert "not recorded" in answer.text
    Budget.objects.create(
        organization=organization,
        scope="organization",
        window_start=month.window.start,
        window_end=month.window.end,
        limit=7,
        spent=Decimal("0.077385"),
    )
    figures = admin.get(page_of(organization), {"month": "2025-02"}).context["figures"]
    assert figures.organization == Fill(Decimal(7), Decimal("0.077385"), Decimal(0))


def test_month_navigation(admin: Client, organization: Organization):
    now = database_now()
    current = current_month(now)
    page = admin.get(page_of(organization)).text
    assert f'href="?month={current.previous_key}"' in page
    assert 'rel="next"' not in page
    page = admin.get(page_of(organization), {"month": "2024-12"}).text
    assert "December 2024" in page
    assert 'href="?month=2024-11"' in page
    assert 'href="?month=2025-01"' in page


@pytest.mark.parametrize("text", ["2024-13", "2024-1", "x", "9999-01", "0001-01", "2024-01-01", "<b>"])
def test_misread_month(admin: Client, organization: Organization, text):
    answer = admin.get(page_of(organization), {"month": text})
    assert answer.status_code == 200
    assert "is no month that has begun" in answer.text
    assert answer.context["month"].is_current
    assert "<b>”" not in answer.text


def test_permission(staff_with, owner: User, organization: Organization):
    urls = (OVERVIEW, page_of(organization))
    allowed, other = staff_with("billing.view_spendrollup"), staff_with("billing.view_price")
    assert [allowed.get(url).status_code for url in urls] == [200, 200]
    assert [other.get(url).status_code for url in urls] == [403, 403]
    for outsider in (Client(), sign_in(owner)):
        assert [outsider.get(url).status_code for url in urls] == [302, 302]


def test_unknown_organization(admin: Client):
    assert admin.get(reverse("admin:billing_spend_organization", args=[uuid7()])).status_code == 404


def test_many_limits_are_the_limit_of_each(db, organization: Organization, owner: User):
    """`standings` is `standing` for many; they must never differ."""
    now = database_now()
    for number, (paid, days) in enumerate([(None, 0), (5, 1), (50, 3), (50, 7), (100, 8), (250, 14), (1000, 31)]):
        other = Organization.objects.create(name=f"O{number}", slug=f"o{number}", terms_on=organization.terms_on)
        if paid:
            Payment.objects.create(organization=other, amount_usd=paid, paid_at=now - timedelta(days=days))
    today = Organization.objects.create(name="Today", slug="today")
    for tier, ends_at in ((3, None), (4, now - timedelta(hours=1)), (2, now + timedelta(hours=1))):
        TierOverride.objects.create(organization=today, tier=tier, reason="a test", actor=owner, ends_at=ends_at)
    everybody = list(Organization.objects.all())
    expected = {one.pk: standing(one, now).tier.monthly_limit_usd for one in everybody}
    many = standings(everybody, now)
    assert {pk: stand.tier.monthly_limit_usd for pk, stand in many.items()} == expected
    assert len(set(expected.values())) > 4


def test_chart_stacks_to_the_days_cost(project: Project, organization: Organization):
    spend(project, Tokens(input=5000, cached_input=1000, output=100, reasoning=60))
    now = database_now()
    month = current_month(now)
    chart = chart_of(month, month_of_spend(organization, None, month, now).by_day)
    assert chart is not None
    assert len(chart.bars) == len(month.days)
    (bar,) = [bar for bar in chart.bars if bar.parts]
    assert [part.kind for part in bar.parts] == ["input", "cached", "visible", "reasoning"]
    assert sum(Decimal(part.height) for part in bar.parts) == pytest.approx(HEIGHT, abs=Decimal("0.05"))
    assert chart_of(month, []) is None


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("0", "$0.00"), ("0.077385", "$0.077385"), ("-1250.5", "-$1,250.50"), ("50000.000000000000", "$50,000.00")],
)
def test_dollars(amount, expected):
    assert dollars(Decimal(amount)) == expected


def test_bar_never_outgrows_its_frame():
    fill = Fill(limit=Decimal(1), spent=Decimal(3), held=Decimal(1))
    assert (fill.spent_width, fill.held_width, fill.remaining) == ("75.00", "25.00", 0)
    assert (Fill(Decimal(0), Decimal(0), Decimal(0)).spent_width, Fill(None, Decimal(2), Decimal(0)).spent_width) == (
        "0",
        "100.00",
    )


def test_months():
    now = datetime(2025, 1, 15, tzinfo=UTC)
    january = current_month(now)
    assert (january.previous_key, january.next_key, january.key) == ("2024-12", None, "2025-01")
    december = month_named("2024-12", now)
    assert december is not None
    assert (december.previous_key, december.next_key, len(december.days)) == ("2024-11", "2025-01", 31)
    assert month_named("2025-02", now) is None
    assert month_named("2025-01", now) == Month(january.window, is_current=True)
