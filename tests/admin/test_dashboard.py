"""The dashboard: its figures are the books', in every period and by every filter."""

import csv
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from uuid_utils.compat import uuid7

from accounts.api_keys import issue
from accounts.models import AuditEntry, Organization, Payment, Project, Team, TierOverride, User
from accounts.tiers import rate_limit, standing, standings
from billing import ledger, rollups
from billing.admin.chart import HEIGHT, chart_of
from billing.admin.figures import Fill
from billing.admin.money import dollars
from billing.admin.months import Month, current_month, month_named
from billing.clock import database_now
from billing.dashboard.daily import MOST_PARTS, Scope, daily
from billing.dashboard.period import Period, period_of
from billing.models import Budget, Quota, UsageRecord
from billing.pricing import Tokens
from jobs import limiter
from jobs.credentials import access_of
from jobs.models import Queue
from tests.admin.conftest import EMPTY_ANSWER, finish_job, make_job, make_quota, reserve, spend

ORGANIZATIONS = reverse("admin:organizations")
OTHER_TOKENS = Tokens(input=1000, cached_input=400, output=10, reasoning=0)


def page_of(organization: Organization) -> str:
    return reverse("admin:dashboard", args=[organization.pk])


def copy_to(day: datetime, record: UsageRecord) -> UsageRecord:
    """The same call once more, on another day."""
    reservation = record.reservation
    reservation.pk, reservation.reference = uuid7(), uuid7()
    reservation.save(force_insert=True)
    record.pk, record.reservation = uuid7(), reservation
    record.window_start, record.booked_at = day.replace(day=1), day
    record.save(force_insert=True)
    rollups.rebuild(record.organization)
    return record


def today() -> date:
    return database_now().date()


def test_figures_equal_the_usage_records(admin: Client, project: Project, organization: Organization):
    second = Project.objects.create(organization=organization, name="Second", slug="second")
    spend(project)
    spend(project, EMPTY_ANSWER)
    spend(second, OTHER_TOKENS, model="o1-mini")
    reserve(project, "1.5")
    names = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "total_usd")
    expected = UsageRecord.objects.aggregate(*(Sum(name) for name in names))
    spent = expected["total_usd__sum"]
    for split in ("project", "team", "model", "member", "kind"):
        answer = admin.get(page_of(organization), {"split": split})
        found = answer.context["daily"]
        for name in names:
            assert found.total.totals[name] == expected[f"{name}__sum"]
        for parts in (found.parts, found.folded):
            assert sum(part.usd for part in parts) == spent
            assert sum(usd for part in parts for usd in part.by_day.values()) == spent
        assert sum(line.total_usd for line in found.days.values()) == spent
        assert found.total.totals["empty_calls"] == 1
        assert found.total.totals["empty_usd"] == Decimal("0.018645")
        assert answer.context["fill"] == Fill(Decimal(50_000), spent, Decimal("1.5"))
    assert [one.owner.name for one in answer.context["projects"]] == ["Alice research", "Second"]


def test_the_golden_figures_in_words(admin: Client, project: Project, organization: Organization):
    spend(project)
    spend(project, EMPTY_ANSWER)
    page = admin.get(page_of(organization)).text
    total = "$0.09603 spent and $0.00 held of $50,000.00; $49,999.90397 remaining."
    assert page.count(f'aria-label="{total}"') == 2  # the organization's bar, and its only project's
    for text in ("$0.018645", "83.9 %", "Paid but empty", "too little history"):
        assert text in page, text
    content = page[page.index('id="content-main"') :]
    content = content[: content.index("All tables")]
    for forbidden in ("onclick", 'style="', "<script", "http://", "https://"):
        assert forbidden not in content, forbidden


def test_one_project(admin: Client, project: Project, organization: Organization, other_project: Project):
    second = Project.objects.create(organization=organization, name="Second", slug="second")
    spend(project)
    spend(second)
    answer = admin.get(page_of(organization), {"project": str(second.pk)})
    assert answer.context["daily"].total.totals["calls"] == 1
    assert answer.context["fill_of"] == second
    assert answer.context["organization_fill"].spent == 2 * answer.context["fill"].spent
    for wrong in (other_project.pk, "nonsense"):
        assert admin.get(page_of(organization), {"project": str(wrong)}).status_code == 404


def test_filters_and_that_links_keep_them(admin: Client, project: Project, organization: Organization, owner: User):
    team = Team.objects.create(organization=organization, name="Ours")
    second = Project.objects.create(organization=organization, name="Second", slug="second", team=team)
    spend(project)
    spend(second, OTHER_TOKENS, model="o1-mini")
    record = finish_job(second, owner).record
    of_member = UsageRecord.objects.filter(member_id=owner.pk)
    for filters, expected in (
        ({"model": "o1-mini"}, UsageRecord.objects.filter(model="o1-mini")),
        ({"team": str(team.pk)}, UsageRecord.objects.filter(team_id=team.pk)),
        ({"member": str(owner.pk)}, of_member),
        ({"team": str(team.pk), "model": "o1-preview"}, UsageRecord.objects.filter(pk=record.pk)),
        ({"model": "never heard of"}, UsageRecord.objects.none()),
    ):
        answer = admin.get(page_of(organization), {**filters, "period": "30d", "split": "team"})
        wanted = expected.aggregate(sum=Sum("total_usd"))["sum"] or 0
        assert answer.context["daily"].total.total_usd == wanted, filters
        assert sum(call["cost"] != "" for call in answer.context["dearest"]) == expected.count()
        for name, value in filters.items():
            kept = f"{name}={value.replace(' ', '+')}"
            links = re.findall(r'href="\?([^"]*)"', answer.text)
            assert sum(kept in link for link in links) >= 8, name
            assert "period=last_month" in " ".join(links)
    for wrong in ({"team": str(uuid7())}, {"member": "9" * 30}, {"member": "0"}, {"team": "x"}):
        assert admin.get(page_of(organization), wrong).status_code == 404, wrong


def test_last_months_dearest_project_in_two_clicks(admin: Client, project: Project, organization: Organization):
    """From where people land: the link to last month, where the dearest project stands first."""
    second = Project.objects.create(organization=organization, name="Second", slug="second")
    before = database_now().replace(day=1) - timedelta(days=3)
    copy_to(before, spend(second))
    spend(project)
    landed = admin.get(reverse("admin:index"), follow=True)
    assert landed.redirect_chain == [(page_of(organization), 302)]
    (query,) = {link for link in re.findall(r'href="\?([^"]*)"', landed.text) if link.startswith("period=last_month")}
    answer = admin.get(f"{page_of(organization)}?{query}")
    assert [row["label"] for row in answer.context["rows"]] == ["Second"]
    assert answer.context["fill"].limit is None  # that of then was not recorded


def test_dearest_jobs_are_linked(admin: Client, project: Project, organization: Organization, owner: User):
    finished = finish_job(project, owner)
    for number in range(12):
        spend(project, Tokens(input=10, cached_input=0, output=number + 1, reasoning=0))
    answer = admin.get(page_of(organization))
    dearest = answer.context["dearest"]
    assert len(dearest) == 10
    costs = sorted(UsageRecord.objects.values_list("total_usd", flat=True), reverse=True)
    assert [call["cost"] for call in dearest] == [dollars(cost) for cost in costs[:10]]
    assert dearest[0]["job"] == finished.job
    assert reverse("admin:jobs_job_change", args=[finished.job.pk]) in answer.text


def test_what_waits_and_for_what(admin: Client, project: Project, organization: Organization, owner: User):
    make_job(project, owner)
    job = make_job(project, owner)
    told = {"reason": "rate_limit", "model": "o1-preview", "limit": "tokens_per_minute", "limit_value": 30_000_000}
    answer = admin.get(page_of(organization))
    (line,) = answer.context["waiting"]["lines"]
    assert (line["jobs"], line["words"]) == ("2", "a worker: none lives")
    admin.get(page_of(organization))
    job.queue.waiting_on, job.queue.starts_per_minute, job.queue.started_at = told, 60, database_now()
    job.queue.save()
    (line,) = admin.get(page_of(organization)).context["waiting"]["lines"]
    assert line["first"] == "nobody knows"  # without a worker nothing starts, whatever the rate was


def test_rate_limits_now(admin: Client, project: Project, organization: Organization, owner: User):
    make_job(project, owner)
    now, family = database_now(), Queue.objects.get(project=project).family
    bound = rate_limit(standing(organization, now).tier.number, family, organization.terms_date(now))
    assert bound is not None
    account = limiter.account_of(access_of(project))
    asking = limiter.Asking(account, family, bound, 300_000, (), True, 60.0)
    limiter.admit_all([asking] * 50)
    url = reverse("admin:dashboard_live", args=[organization.pk])
    answer = admin.get(url)
    assert "no-store" in answer["Cache-Control"]
    limits = {use.name: use.limit for use in answer.context["live"].uses}
    assert limits == {"requests per minute": 500, "tokens per minute": 30_000_000}
    assert all(0 < use.used <= use.limit for use in answer.context["live"].uses)
    assert f'data-live="{url}"' in admin.get(page_of(organization)).text
    assert "<html" not in answer.text


@pytest.fixture
def _redis_is_away(settings) -> Iterator[None]:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    limiter.connection.cache_clear()
    yield
    limiter.connection.cache_clear()


@pytest.mark.usefixtures("_redis_is_away")
def test_rate_limits_without_redis(admin: Client, project: Project, organization: Organization, owner: User):
    make_job(project, owner)
    assert "nobody knows" in admin.get(reverse("admin:dashboard_live", args=[organization.pk])).text
    assert admin.get(page_of(organization)).status_code == 200


def test_csv_is_what_is_shown(admin: Client, project: Project, organization: Organization, superuser: User):
    second = Project.objects.create(organization=organization, name="=cmd()", slug="second")
    spend(project)
    spend(second, OTHER_TOKENS, model="o1-mini")

    def rows(table: str, **query: str) -> list[list[str]]:
        answer = admin.get(reverse("admin:dashboard_csv", args=[organization.pk, table]), query)
        assert answer["Content-Type"].startswith("text/csv")
        assert "attachment" in answer["Content-Disposition"]
        return list(csv.reader(StringIO(answer.text)))

    spent = UsageRecord.objects.aggregate(sum=Sum("total_usd"))["sum"]
    for split in ("project", "kind", "model"):
        head, *days, total = rows("days", split=split)
        assert Decimal(total[head.index("total_usd")]) == spent
        assert sum(Decimal(usd) for usd in total[len(head) - (4 if split == "kind" else 2) :]) == spent
        assert days[0][0] == str(today())
    parts = rows("parts")
    assert [row[0] for row in parts] == ["project", "Alice research", "'=cmd()", "total"]
    change = rows("change")
    assert sum(Decimal(usd) for usd in change[-1][6:]) == Decimal(change[-1][5]) == spent
    assert admin.get(reverse("admin:dashboard_csv", args=[organization.pk, "nothing"])).status_code == 404
    entry = AuditEntry.objects.filter(action="exported").latest("at")
    assert (entry.actor, entry.organization, entry.after["table"]) == (superuser, organization, "change")


def test_why_it_changed(admin: Client, project: Project, organization: Organization):
    last_month = database_now().replace(day=1) - timedelta(days=3)
    copy_to(last_month, spend(project))
    spend(project)
    spend(project)
    url = reverse("admin:dashboard_change", args=[organization.pk])
    against = {"against": "own", "against_from": f"{last_month:%Y-%m-01}", "against_to": f"{last_month:%Y-%m-%d}"}
    answer = admin.get(url, against)
    (found,) = answer.context["changes"]
    assert found.effects == {
        **dict.fromkeys(("mix", "tokens", "reasoning", "price"), 0),
        "volume": found.before_usd * 2,
    }
    assert sum(found.effects.values()) == found.difference_usd
    assert answer.context["then"].last_day == last_month.date()
    so_far = admin.get(url).context
    assert (so_far["period"].last_day, so_far["then"].first_day) == (today(), last_month.date().replace(day=1))
    assert f"+{dollars(found.difference_usd)}" in answer.text
    assert "No call was booked" in admin.get(url, {"period": "2024-01"}).text


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
        context = admin.get(page_of(organization)).context
        assert context["projects"][0].fill == Fill(Decimal(20), Decimal("0.077385"), Decimal("0.5"))
        assert context["fill"] == Fill(Decimal(50_000), Decimal("0.077385"), Decimal("0.5"))
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
    context = admin.get(page_of(organization), {"period": "2025-02"}).context
    assert context["projects"][0].fill == Fill(Decimal(7), Decimal(0), Decimal(0))


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
        "Organization": ["50 jobs", "1 job", "0 jobs", "49 jobs"],
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
    past = admin.get(page_of(organization), {"project": str(project.pk), "period": "2025-02"})
    assert past.context["quotas"] == []
    Quota.objects.all().delete()
    assert "No quota binds this project" in admin.get(page_of(organization), {"project": str(project.pk)}).text


def test_corrections_are_spent_and_named(admin: Client, project: Project, organization: Organization, superuser: User):
    spend(project)
    with transaction.atomic():
        ledger.adjust(project, Decimal("-0.01"), reason="the provider's bill says less", actor=superuser)
    answer = admin.get(page_of(organization))
    assert answer.context["fill"].spent == Decimal("0.067385")
    assert answer.context["daily"].total.total_usd == Decimal("0.077385")
    assert "-$0.01" in answer.text


def test_empty_organization_says_what_to_do(admin: Client, project: Project, organization: Organization):
    page = admin.get(page_of(organization)).text
    for text in ("Nothing was spent", "Send a job", "No job stands in line", "no rate limit is used", "<svg"):
        assert text in page, text
    bare = Organization.objects.create(name="Bare", slug="bare")
    for name in ("dashboard", "dashboard_change", "dashboard_live"):
        assert admin.get(reverse(f"admin:{name}", args=[bare.pk])).status_code == 200


def test_past_month(admin: Client, project: Project, organization: Organization):
    month = month_named("2025-02", database_now())
    assert month is not None
    copy_to(month.window.start + timedelta(days=3), spend(project))
    answer = admin.get(page_of(organization), {"period": "2025-02"})
    assert answer.context["daily"].total.totals["calls"] == 1
    assert answer.context["fill"] == Fill(None, Decimal("0.077385"), Decimal(0))
    assert answer.context["forecast"] is None
    assert "not recorded" in answer.text
    Budget.objects.create(
        organization=organization,
        scope="organization",
        window_start=month.window.start,
        window_end=month.window.end,
        limit=7,
        spent=Decimal("0.077385"),
    )
    context = admin.get(page_of(organization), {"period": "2025-02"}).context
    assert context["fill"] == Fill(Decimal(7), Decimal("0.077385"), Decimal(0))


def test_months_before_and_after(admin: Client, organization: Organization):
    page = admin.get(page_of(organization), {"period": "2024-12", "split": "model"}).text
    for key in ("2024-11", "2025-01"):
        assert f'href="?period={key}&amp;split=model"' in page
    after_this = period_of("this_month", "", "", today())
    assert after_this is not None
    assert f"period={after_this.end_day:%Y-%m}" not in admin.get(page_of(organization)).text


def test_forecast_is_shown(admin: Client, project: Project, organization: Organization):
    record = spend(project)
    usd = record.total_usd
    for days in range(1, 29):
        copy_to(database_now() - timedelta(days=days), record)
    made = admin.get(page_of(organization)).context["forecast"]["made"]
    first = today().replace(day=1)
    left = (period_of("this_month", "", "", today()).end_day - first).days - today().day
    spent = Budget.objects.get(organization=organization, project=None).spent
    # A call a day: each day that is left costs the same, and of today what is left of it; nothing varies.
    assert made.at_end == made.low == made.high
    assert spent + usd * left <= made.at_end <= spent + usd * (left + 1)


@pytest.mark.parametrize("text", ["2024-13", "2024-1", "x", "9999-01", "0001-01", "own", "<b>"])
def test_misread_period(admin: Client, organization: Organization, text):
    answer = admin.get(page_of(organization), {"period": text, "from": "2025-02-31", "to": "x", "model": "o1"})
    assert answer.status_code == 200
    assert "is no period that has begun" in answer.text
    assert answer.context["period"].key == "this_month"
    assert answer.context["shown"].model == "o1"
    assert "<b>" not in answer.text[answer.text.index('id="content-main"') :]


def test_old_addresses_lead_here(admin: Client, organization: Organization):
    assert admin.get(reverse("admin:billing_spend")).url == ORGANIZATIONS
    old = reverse("admin:billing_spend_organization", args=[organization.pk])
    assert admin.get(old, {"month": "2025-02"}).url == f"{page_of(organization)}?period=2025-02"


def test_organizations(admin: Client, project: Project, other_project: Project):
    spend(project)
    landed = admin.get(reverse("admin:index"))
    owned = {one.name: fill for one, fill in landed.context["owned"]}
    assert owned["Alice"] == Fill(Decimal(50_000), Decimal("0.077385"), Decimal(0))
    assert owned["Bob"] == Fill(Decimal(50_000), Decimal(0), Decimal(0))
    found = admin.get(ORGANIZATIONS, {"q": "ali"}).context["owned"]
    assert [one.name for one, _ in found] == ["Alice"]
    assert "No organization" in admin.get(ORGANIZATIONS, {"q": "zzz\x00"}).text


def test_without_organizations(admin: Client):
    assert "There is no organization yet" in admin.get(reverse("admin:index")).text


def test_few_queries_however_many_rows(admin: Client, project: Project, organization: Organization, owner: User):
    finish_job(project, owner)
    make_job(project, owner)

    def count(url: str) -> int:
        admin.get(url)
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(url).status_code == 200
        return len(captured)

    urls = [page_of(organization), reverse("admin:dashboard_change", args=[organization.pk])]
    few = [count(url) for url in urls]
    for number in range(10):
        team = Team.objects.create(organization=organization, name=f"T{number}")
        other = Project.objects.create(organization=organization, name=f"P{number}", slug=f"p{number}", team=team)
        make_quota(other, "100")
        finish_job(other, owner)
        make_job(other, owner)
    assert [count(url) for url in urls] == few
    assert few[0] <= 60
    assert few[1] <= 20


def test_smallest_parts_are_folded(organization: Organization):
    for number in range(MOST_PARTS + 3):
        project = Project.objects.create(organization=organization, name=f"P{number}", slug=f"p{number}")
        spend(project, Tokens(input=10, cached_input=0, output=100 + number, reasoning=0))
    period = period_of("7d", "", "", today())
    assert period is not None
    found = daily(Scope(organization, None, {}), period, "project")
    assert len(found.folded) == MOST_PARTS + 1
    assert found.folded[-1].label == "3 others"
    assert sum(part.usd for part in found.folded) == found.total.total_usd
    assert found.folded[0].label == f"P{MOST_PARTS + 2}"


def test_chart_stacks_to_the_days_cost(project: Project, organization: Organization):
    spend(project, Tokens(input=5000, cached_input=1000, output=100, reasoning=60))
    spend(project, Tokens(input=5000, cached_input=1000, output=100, reasoning=60), model="o1-mini")
    period = period_of("this_month", "", "", today())
    assert period is not None
    found = daily(Scope(organization, None, {}), period, "kind")
    chart = chart_of(found, found.folded)
    assert chart is not None
    assert len(chart.bars) == len(period.days)
    (bar,) = [bar for bar in chart.bars if bar.pieces]
    assert [piece.kind for piece in bar.pieces] == ["series-1", "series-2", "series-3", "series-4"]
    assert sum(Decimal(piece.height) for piece in bar.pieces) == pytest.approx(HEIGHT, abs=Decimal("0.05"))
    nothing = Period("2024-01", date(2024, 1, 1), date(2024, 2, 1))
    empty = daily(Scope(organization, None, {}), nothing, "kind")
    assert chart_of(empty, empty.folded) is None


def test_many_limits_are_the_limit_of_each(db, organization: Organization, owner: User):
    """`standings` is `standing` for many; they must never differ."""
    now = database_now()
    for number, (paid, days) in enumerate([(None, 0), (5, 1), (50, 3), (50, 7), (100, 8), (250, 14), (1000, 31)]):
        other = Organization.objects.create(name=f"O{number}", slug=f"o{number}", terms_on=organization.terms_on)
        if paid:
            Payment.objects.create(organization=other, amount_usd=paid, paid_at=now - timedelta(days=days))
    of_today = Organization.objects.create(name="Today", slug="today")
    for tier, ends_at in ((3, None), (4, now - timedelta(hours=1)), (2, now + timedelta(hours=1))):
        TierOverride.objects.create(organization=of_today, tier=tier, reason="a test", actor=owner, ends_at=ends_at)
    everybody = list(Organization.objects.all())
    expected = {one.pk: standing(one, now).tier.monthly_limit_usd for one in everybody}
    many = standings(everybody, now)
    assert {pk: stand.tier.monthly_limit_usd for pk, stand in many.items()} == expected
    assert len(set(expected.values())) > 4


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
