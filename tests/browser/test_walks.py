"""What people come for, walked through in a browser as they would, with the work really done behind it."""

import csv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from django.urls import reverse
from playwright.sync_api import expect

from accounts.models import ApiKey, AuditEntry, Membership, Project, ProviderCredential, Role, Team, User
from billing import ledger
from billing.admin.months import current_month, month_named
from billing.clock import database_now
from billing.models import AlertSettings, LedgerEntry, Quota, Scope, WebhookEndpoint
from billing.quotas.standing import states
from jobs.models import Job, JobContent, Queue
from tests.admin.conftest import EMPTY_ANSWER, spend
from tests.admin.test_every_page import a_row
from tests.admin.test_every_page import page as page_of
from tests.billing.exported import at
from tests.browser.conftest import Site, Visit, a_member
from tests.conftest import Tenant
from tests.flows.conftest import Path, _fresh_limiter, path, simulator, simulator_process, slots  # noqa: F401

pytestmark = [pytest.mark.django_db(transaction=True, serialized_rollback=True), pytest.mark.timeout(300)]
OF_THE_WAITING_JOB = 10_000  # tokens of its answer: about 0.60 USD, more than the quota has


def work(path: Path) -> None:  # noqa: F811
    """All that may start is carried out; in a thread of its own, because Playwright has an event loop in this one."""

    def run() -> None:
        try:
            path.run()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


def led(tenant: Tenant) -> User:
    """A member who leads the team of the tenant's project."""
    lead = a_member(tenant, Role.MEMBER, "lead")
    team = Team.objects.create(organization=tenant.organization, name="Numbers")
    team.leads.add(lead.memberships.get())
    Project.objects.filter(pk=tenant.project.pk).update(team=team)
    tenant.project.refresh_from_db()
    return lead


def test_the_dearest_project_of_last_month_is_two_clicks_away(
    window: Visit,
    alice: Tenant,
    bob: Tenant,
    transactional_db,
):
    """From the landing page of somebody who owns two organizations; who owns one saves the first click."""
    Membership.objects.create(organization=bob.organization, user=alice.owner, role=Role.OWNER)
    dear, cheap = (alice.organization.projects.create(name=name, slug=name.lower()) for name in ("Dear", "Cheap"))
    last_month = month_named(current_month(database_now()).previous_key, database_now())
    assert last_month is not None
    with at(last_month.window.start + timedelta(days=3)):
        for project in (cheap, dear, dear, dear, alice.project, alice.project):
            spend(project)
    for _ in range(9):
        spend(cheap)  # this month another is the dearest

    page = window.page
    window.sign_in(alice.owner.email)
    page.locator("#content").get_by_role("link", name="Alice", exact=True).click()
    page.get_by_role("navigation", name="Period").get_by_role("link", name="Last month").click()

    rows = page.get_by_role("region", name="By project", exact=True).locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("Dear")
    expect(rows.first).to_contain_text("$0.232155")
    assert window.faults == []


def test_raising_a_quota_lets_a_waiting_job_run(window: Visit, alice: Tenant, path: Path, transactional_db):  # noqa: F811
    """The dashboard says what the job waits for; the lead raises the team's quota; the job's page shows the end."""
    lead = led(alice)
    quota = Quota.objects.create(
        organization=alice.organization, scope=Scope.TEAM, team=alice.project.team, limit=Decimal(10)
    )
    job = path.submit("o1-preview", max_completion_tokens=OF_THE_WAITING_JOB)
    Quota.objects.filter(pk=quota.pk).update(limit=Decimal("0.30"))
    work(path)
    assert Job.objects.get(pk=job.pk).status == "queued"

    page = window.page
    window.sign_in(lead.email)
    expect(page.get_by_role("region", name="Queues")).to_contain_text("the limit of team")

    page.get_by_role("link", name="Quotas by organization").click()
    page.get_by_role("link", name="Open the quota of Numbers").click()
    page.get_by_label("Limit:", exact=True).fill("5")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("The open window follows at once.")).to_be_visible()

    # What beat does every second; the queue's pause after its refusal is over by then.
    Queue.objects.update(retry_at=None)
    work(path)
    assert Job.objects.get(pk=job.pk).status == "succeeded"
    window.open(f"/admin/jobs/job/{job.pk}/change/")
    expect(page.locator("#content")).to_contain_text("Succeeded")
    assert window.faults == []


def test_a_member_asks_for_more_and_a_lead_approves(windows: Callable[[], Visit], alice: Tenant, transactional_db):
    lead, member = led(alice), a_member(alice, Role.MEMBER)
    alice.project.team.members.add(member.memberships.get())
    quota = Quota.objects.create(organization=alice.organization, project=alice.project, limit=Decimal(10))

    asks = windows()
    asks.sign_in(member.email)
    asks.page.get_by_role("link", name="Quotas by organization").click()
    asks.page.get_by_role("link", name="Open the quota of Alice research").click()
    expect(asks.page.get_by_role("button", name="Save", exact=True)).to_have_count(0)
    asks.page.get_by_text("Ask for more").click()
    asks.page.get_by_label("How much more").fill("15")
    asks.page.get_by_label("Reason").fill("the evaluation of the new prompts")
    asks.page.get_by_role("button", name="Ask", exact=True).click()
    expect(asks.page.get_by_text("Asked. Whoever manages the quota is told")).to_be_visible()

    decides = windows()
    decides.sign_in(lead.email)
    decides.page.get_by_role("link", name="Quotas by organization").click()
    decides.page.get_by_role("link", name="Requests for more 1 pending").click()
    expect(decides.page.locator("#content")).to_contain_text("the evaluation of the new prompts")
    decides.page.get_by_role("button", name="Approve", exact=True).click()
    expect(decides.page.get_by_text("No request is pending.")).to_be_visible()

    asks.page.reload()
    expect(asks.page.get_by_role("region", name="How full it stands")).to_contain_text("$25.00 raised by $15.00")
    assert states([quota], database_now())[quota.pk].limit.amount == 25
    assert asks.faults + decides.faults == []


def test_an_exported_month_sums_to_the_ledger(window: Visit, alice: Tenant, transactional_db):
    """As the accountants do it, in both forms, this month's calls and a correction by hand."""
    accountant = a_member(alice, Role.BILLING)
    spend(alice.project)
    spend(alice.project, EMPTY_ANSWER)
    with transaction.atomic():
        ledger.adjust(alice.project, Decimal("-0.000000000001"), reason="rounding", actor=alice.owner)
    entries = LedgerEntry.objects.filter(organization=alice.organization)
    of_the_ledger = entries.aggregate(sum=Sum("spent_change_usd"))["sum"]
    assert of_the_ledger > 0

    window.sign_in(accountant.email)
    for name, cost in (("CSV", "total_usd"), ("FOCUS CSV", "BilledCost")):
        with window.page.expect_download() as download:
            window.page.get_by_role("link", name=name, exact=True).click()
        rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
        assert sum(Decimal(row[cost]) for row in rows) == of_the_ledger
    assert window.faults == []


def test_a_viewer_finds_closed_doors_and_no_way_to_them(window: Visit, site: Site, bob: Tenant):
    """What the role does not allow answers 403 or 404, what is another organization's 404; no page links there."""
    viewer = a_member(site.alice, Role.VIEWER)
    own, other = site.alice.organization.pk, bob.organization.pk
    forbidden = [
        page_of(JobContent, "changelist"),
        page_of(JobContent, "change", a_row(JobContent).pk),
        *(page_of(model, "changelist") for model in (AuditEntry, ProviderCredential, User, WebhookEndpoint)),
        *(page_of(model, "add") for model in (Project, Team, Membership, ApiKey, Quota, AlertSettings)),
        reverse("admin:billing_quota_new", args=[own]) + "?scope=organization",
        reverse("admin:billing_book_repair", args=[own]),
        reverse("admin:billing_price_import"),
    ]
    elsewhere = [
        reverse("admin:dashboard", args=[other]),
        reverse("admin:billing_quotas_organization", args=[other]),
        reverse("admin:billing_statement", args=[other]),
        reverse("admin:billing_spend_export", args=[other]) + "?format=csv",
    ]
    window.sign_in(viewer.email)
    assert {one: status for one in forbidden if (status := window.open(one)) not in {403, 404}} == {}
    assert {one: status for one in elsewhere if (status := window.open(one)) != 404} == {}

    of_project = f"/admin/organizations/{own}/?project={site.alice.project.pk}"
    seen = [of_project, f"/admin/billing/quotas/{own}/", "/admin/tables/"]
    links = set()
    for one in [*seen, page_of(Project, "change", site.alice.project.pk), page_of(Job, "changelist")]:
        assert window.open(one) == 200
        links |= set(window.page.eval_on_selector_all("a[href]", "all => all.map((one) => one.getAttribute('href'))"))
    assert seen[2] in links
    assert links & set(forbidden + elsewhere) == set()
    assert [link for link in links if "/add/" in link or "/new/" in link] == []


def test_a_project_is_paused_from_the_list_with_a_reason(root: Visit, site: Site):
    """The bar of actions comes with the first tick, and has the field that the action asks for."""
    root.open("/admin/accounts/project/")
    page = root.page
    expect(page.get_by_label("Select action to run")).not_to_be_visible()
    page.locator("#result_list input.action-select").first.check()
    page.get_by_label("Select action to run").select_option("pause")
    page.get_by_label("Reason to pause").fill("the budget of the year is spent")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("1 paused")).to_be_visible()
    expect(page.locator("#result_list")).to_contain_text("the budget of the year is spent")
    assert root.faults == []
