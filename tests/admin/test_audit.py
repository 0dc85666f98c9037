"""Every act of the admin is one entry of the audit trail; a new page, action or form fails here until it is listed."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import Group
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import audit_verification
from accounts.audit import SERVICE
from accounts.models import (
    ApiKey,
    AuditEntry,
    AuditTrail,
    Membership,
    Organization,
    Payment,
    Project,
    Team,
    TierOverride,
    User,
)
from billing.models import Alert, AlertSettings, Quota, SpendRollup, WebhookDelivery, WebhookEndpoint
from billing.money import usd
from billing.quotas import asking
from config.admin import HasPages
from jobs.models import Batch, Breaker, Comparison, Doubt, Job, JobContent
from tests.admin.conftest import make_batch, make_comparison, make_job, sign_in

# What a superuser may do to rows on the pages of each model; each is recorded by `accounts.admin.audited`, or by the
# service that the page calls.
FORMS = {
    "accounts.AdminCredential": "add change delete",
    "accounts.ApiKey": "add change",
    "accounts.Membership": "add change delete",
    "accounts.Organization": "add change delete",
    "accounts.Payment": "add change delete",
    "accounts.Project": "add change delete",
    "accounts.ProjectRateLimit": "add change delete",
    "accounts.ProviderCredential": "add change delete",
    "accounts.RateLimit": "add change delete",
    "accounts.Team": "add change delete",
    "accounts.TierOverride": "add",
    "accounts.UsageTier": "add change delete",
    "accounts.User": "add change delete",
    "auth.Group": "add change delete",
    "billing.AlertSettings": "add change delete",
    "billing.Price": "add change delete",
    "billing.Quota": "add change delete",
    "billing.WebhookEndpoint": "add change delete",
    "jobs.LanguageModel": "add change delete",
}
# Actions, and why one makes no entry; tests of those that make one stand below, under their names.
ACTIONS = {
    "accounts.ApiKey": "revoke",
    "accounts.Project": "pause unpause",
    "accounts.TierOverride": "end",
    "accounts.User": "switch_off_second_step",
    "billing.Alert": "acknowledge_chosen",
    "billing.Book": "verify_chosen",
    "billing.WebhookDelivery": "replay",
    "billing.WebhookEndpoint": "test enable disable rotate",
    "jobs.Batch": "cancel_chosen",
    "jobs.Comparison": "cancel_chosen erase_content",
    "jobs.Breaker": "try_now",
    "jobs.Doubt": "look_up_now presume_spent release run_again",
    "jobs.Job": "cancel_queued erase_content",
}
LOOKS = "has somebody look, changes nothing and shows no content"
READS = "figures of pages that are no content"
SILENT = {
    "verify_chosen": LOOKS,
    "test": "sends a message that tells nothing; the log of deliveries has it",
    "replay": "sends what was sent already; the log of deliveries has it",
    "billing_book_verification": LOOKS,
    "billing_book_verify": LOOKS,
    "billing_reconciliation": READS,
    "billing_reconciliation_organization": READS,
    "billing_reconciliation_ask": LOOKS,
    "billing_quotas": READS,
    "billing_quotas_organization": READS,
    "billing_spend": READS,
    "billing_spend_organization": READS,
    "billing_statement": READS,
    "billing_statements": READS,
    "dashboard": READS,
    "jobs_comparison_live": READS,
    "dashboard_change": READS,
    "dashboard_live": READS,
    "organizations": READS,
    "calibration": READS,
    "expectations": READS,
    "expectations_organization": READS,
    "waste": READS,
    "waste_organization": READS,
    "billing_price_example": "an example, the same for everybody",
}
# Pages of their own that make an entry, and of which kind.
PAGES = {
    "accounts_auditentry_export": "exported",
    "auth_user_password_change": "updated",
    "billing_book_repair": "updated",
    "billing_price_export": "exported",
    "billing_price_import": "updated",
    "billing_quota_new": "created",
    "billing_quota_page": "updated",
    "billing_quota_requests": "decided",
    "billing_reconciliation_decide": "decided",
    "billing_review": "decided",
    "jobs_comparison_cancel": "updated",
    "jobs_comparison_start": "created",
    "billing_spend_export": "exported",
    "billing_statement_file": "exported",
    "billing_what_if": "exported",
    "calibration_csv": "exported",
    "dashboard_csv": "exported",
    "waste_csv": "exported",
}
USUAL = {"changelist", "add", "history", "delete", "change"}
REGISTERED = django_admin.site._registry


def test_every_form_is_listed(superuser):
    request = RequestFactory().get("/")
    request.user = superuser
    found = {}
    for model, page in REGISTERED.items():
        may = {name: getattr(page, f"has_{name}_permission")(request) for name in ("add", "change", "delete")}
        if allowed := " ".join(name for name, yes in may.items() if yes):
            found[model._meta.label] = allowed
    assert found == FORMS


def test_every_form_is_one_whose_changes_are_recorded():
    pages = {model._meta.label: page for model, page in REGISTERED.items()}
    unrecorded = [label for label in FORMS if "Audited" not in {base.__name__ for base in type(pages[label]).__mro__}]
    assert unrecorded == []


def test_every_action_is_listed(superuser):
    request = RequestFactory().get("/")
    request.user = superuser
    found = {}
    for model, page in REGISTERED.items():
        own = [name for name in page.get_actions(request) if name != "delete_selected"]
        if own:
            found[model._meta.label] = set(own)
    assert found == {label: set(names.split()) for label, names in ACTIONS.items()}


def test_every_page_of_its_own_is_listed():
    found = set()
    for model, page in REGISTERED.items():
        usual = {f"{model._meta.app_label}_{model._meta.model_name}_{name}" for name in USUAL}
        urls = [*page.get_urls(), *(page.page_urls() if isinstance(page, HasPages) else [])]
        found |= {url.name for url in urls if url.name} - usual
    assert found == {*PAGES, *(name for name in SILENT if name not in " ".join(ACTIONS.values()).split())}


# --- Each is exercised ------------------------------------------------------------------------------------------------
@contextmanager
def one_entry(action: str, subject_type: str, *, count: int = 1) -> Iterator[Callable[[], AuditEntry]]:
    """Exactly so many entries are made meanwhile, each of this kind, with where it came from, and all chains hold."""
    before = set(AuditEntry.objects.values_list("pk", flat=True))
    fresh: list[AuditEntry] = []
    yield lambda: fresh[0]
    fresh += AuditEntry.objects.exclude(pk__in=before).order_by("pk")
    assert [(each.action, each.subject_type) for each in fresh] == [(action, subject_type)] * count
    for entry in fresh:
        assert (entry.actor_name, entry.address) == ("root@bursar.example", "127.0.0.1")
        assert entry.request_id.startswith("req_")
    assert [one.found for one in audit_verification.verify() if one.found] == []


def url_of(model, name: str, *args) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


def act(admin: Client, model, action: str, *rows, **fields) -> None:
    chosen = {"action": action, "_selected_action": [str(row.pk) for row in rows], "index": "0", **fields}
    assert admin.post(url_of(model, "changelist"), chosen).status_code == 302


def test_an_added_row_is_recorded_with_what_it_says(admin, organization):
    fields = {"organization": organization.pk, "amount_usd": "12.50", "reference": "transfer 7"}
    with one_entry("created", "payment") as entry:
        admin.post(url_of(Payment, "add"), {**fields, "paid_at_0": "2026-11-01", "paid_at_1": "10:00:00"})
    assert entry().organization_id == organization.pk
    assert entry().after["amount_usd"] == "12.500000000000"
    assert entry().after["organization"] == f"Alice ({organization.pk})"
    assert entry().before == {}


def test_a_changed_row_is_recorded_before_and_after_with_what_changed_alone(admin, project):
    quota = Quota.objects.create(organization=project.organization, project=project, limit=Decimal(10))
    fields = {"measure": "usd", "window": "month", "limit": "20.5", "is_hard": "on", "model": ""}
    with one_entry("updated", "quota") as entry:
        admin.post(url_of(Quota, "change", quota.pk), {**fields, "project": project.pk})
    assert entry().before == {"limit": "10.00"}
    assert entry().after == {"limit": "20.50"}
    assert entry().subject_id == str(quota.pk)


def test_saving_what_is_there_is_no_act(admin, project):
    team = Team.objects.create(organization=project.organization, name="Numbers")
    with one_entry("updated", "team", count=0):
        admin.post(url_of(Team, "change", team.pk), {"name": "Numbers"})


def test_the_members_of_a_team_are_recorded_by_name(admin, organization, owner):
    team = Team.objects.create(organization=organization, name="Numbers")
    membership = Membership.objects.get(user=owner)
    with one_entry("updated", "team") as entry:
        admin.post(url_of(Team, "change", team.pk), {"name": "Numbers", "members": [membership.pk]})
    assert entry().after == {"members": [f"{membership} ({membership.pk})"]}


def test_a_role_that_changes_within_the_page_of_its_organization_is_recorded(admin, organization, owner):
    membership = Membership.objects.get(user=owner)
    fields = {
        "name": "Alice",
        "slug": "alice",
        "terms_on": "2024-09-30",
        "dispatch_weight": "100",
        "memberships-TOTAL_FORMS": "1",
        "memberships-INITIAL_FORMS": "1",
        "memberships-0-id": membership.pk,
        "memberships-0-organization": organization.pk,
        "memberships-0-user": owner.pk,
        "memberships-0-role": "viewer",
    }
    with one_entry("updated", "organization") as entry:
        admin.post(url_of(Organization, "change", organization.pk), fields)
    assert list(entry().before.values()) == [{"role": "owner"}]
    assert list(entry().after.values()) == [{"role": "viewer"}]


def test_a_deleted_row_is_recorded_with_what_it_was(admin, organization):
    payment = Payment.objects.get(organization=organization)
    with one_entry("deleted", "payment") as entry:
        admin.post(url_of(Payment, "delete", payment.pk), {"post": "yes"})
    assert entry().subject_id == str(payment.pk)
    assert entry().before["amount_usd"] == "1000.000000000000"
    assert entry().after == {}


def test_rows_that_are_deleted_together_are_recorded_one_by_one(admin, alice, bob):
    rows = list(Payment.objects.all())
    with one_entry("deleted", "payment", count=2):
        act(admin, Payment, "delete_selected", *rows, post="yes")
    assert not Payment.objects.exists()


def test_a_page_that_fails_leaves_no_entry(admin, organization):
    with one_entry("updated", "organization", count=0):
        admin.post(url_of(Organization, "change", organization.pk), {"name": ""})


def test_a_password_is_recorded_as_changed_and_never_told(admin, owner, superuser):
    fields = {"password1": "another password 7", "password2": "another password 7", "usable_password": "true"}
    with one_entry("updated", "user") as entry:
        admin.post(reverse("admin:auth_user_password_change", args=[owner.pk]), fields)
    assert (entry().before, entry().after) == ({"password": "(hidden)"}, {"password": "(hidden)"})
    mine = {
        "old_password": "a password for tests",
        "new_password1": "quite another 77",
        "new_password2": "quite another 77",
    }
    with one_entry("updated", "user") as entry:
        admin.post(reverse("admin:password_change"), mine)
    assert entry().subject_id == str(superuser.pk)


def test_keys_are_recorded_without_their_secrets(admin, project, organization):
    with one_entry("created", "api_key") as entry:
        admin.post(url_of(ApiKey, "add"), {"project": project.pk, "name": "nightly"})
    key = ApiKey.objects.get(name="nightly")
    assert entry().after["secret_hash"] == "(hidden)"
    assert key.secret_hash not in str(entry().after)
    with one_entry("updated", "api_key"):
        act(admin, ApiKey, "revoke", key)


def test_groups_and_their_permissions_are_recorded(admin):
    with one_entry("created", "group") as entry:
        admin.post(url_of(Group, "add"), {"name": "accountants", "permissions": [1, 2]})
    assert len(entry().after["permissions"]) == 2


def test_pause_and_unpause(admin, project):
    with one_entry("updated", "project") as entry:
        act(admin, Project, "pause", project, reason="it spends too much")
    assert entry().reason == "it spends too much"
    with one_entry("updated", "project") as entry:
        act(admin, Project, "unpause", project)
    assert entry().before["paused_reason"] == "it spends too much"


def test_the_advice_by_which_a_project_refuses_jobs(admin, project):
    kept = {"name": project.name, "slug": project.slug, "provider_project_id": "", "dispatch_weight": 100}
    kept |= {"doubt_policy": "hold", "doubt_patience_hours": 24, "content_retention_days": ""}
    page = url_of(Project, "change", project.pk)
    with one_entry("updated", "project") as entry:
        chosen = {"blocks_on_advice": ["small_cap", "large_model"]}
        assert admin.post(page, {**kept, **chosen}).status_code == 302
    assert (entry().before, entry().after) == ({"blocks_on_advice": []}, chosen)
    project.refresh_from_db()
    assert project.blocks_on_advice == ["small_cap", "large_model"]
    assert "valid" in admin.post(page, {**kept, "blocks_on_advice": ["haste"]}).text


def test_end_of_an_override(admin, organization, owner):
    override = TierOverride.objects.create(organization=organization, tier=5, reason="agreed", actor=owner)
    with one_entry("updated", "tier_override"):
        act(admin, TierOverride, "end", override)


def test_acknowledge_and_try_now(admin, world):
    with one_entry("updated", "alert", count=Alert.objects.filter(acknowledged_at=None).count()):
        act(admin, Alert, "acknowledge_chosen", *Alert.objects.all())
    with one_entry("updated", "breaker"):
        act(admin, Breaker, "try_now", Breaker.objects.get())


def test_cancelled_jobs(admin, project, owner):
    jobs = [make_job(project, owner), make_job(project, owner)]
    with one_entry("updated", "job", count=2) as entry:
        act(admin, Job, "cancel_queued", *jobs)
    assert (entry().before, entry().after) == ({"status": "queued"}, {"status": "cancelled"})


def test_erased_content(admin, finished):
    with one_entry("deleted", "job_content") as entry:
        act(admin, Job, "erase_content", finished.job)
    assert entry().after.keys() == {"content_erased_at"}
    with one_entry("deleted", "job_content", count=0):
        act(admin, Job, "erase_content", finished.job)


def test_erased_comparisons(admin, finished, project):
    comparison = make_comparison(project, finished.job, status="completed", finished_at=timezone.now())
    runs = make_comparison(project)
    with one_entry("deleted", "comparison_content") as entry:
        act(admin, Comparison, "erase_content", comparison, runs)
    assert entry().subject_id == str(comparison.pk)
    assert (entry().after.keys(), entry().after["jobs"]) == ({"content_erased_at", "jobs"}, 1)
    assert not JobContent.objects.filter(job=finished.job).exists()
    runs.refresh_from_db()
    assert runs.content is not None
    with one_entry("deleted", "comparison_content", count=0):
        act(admin, Comparison, "erase_content", comparison, runs)


def test_cancelled_batches(admin, project):
    batch = make_batch(project)
    with one_entry("updated", "batch") as entry:
        act(admin, Batch, "cancel_chosen", batch)
    assert (entry().before, entry().after) == ({"status": "in_progress"}, {"status": "cancelling"})


def test_whoever_looks_at_content_is_on_record(admin, finished, staff_with):
    with one_entry("viewed", "job_content") as entry:
        assert "the secret prompt" in admin.get(url_of(JobContent, "change", finished.job.pk)).text
    assert entry().organization_id == finished.job.organization_id
    assert "secret" not in str((entry().before, entry().after))
    without = staff_with("jobs.view_job")  # signs in, which is an entry of its own
    with one_entry("viewed", "job_content", count=0):
        admin.get(url_of(JobContent, "changelist"))
        without.get(url_of(JobContent, "change", finished.job.pk))


def test_exports_of_prices_and_what_if(admin, finished):
    with one_entry("exported", "price"):
        admin.get(reverse("admin:billing_price_export"))
    today = timezone.now().date()
    fields = {
        "organization": finished.job.organization_id,
        "start": today - timedelta(days=1),
        "end": today + timedelta(days=1),
        "prices_of": "2025-02-01",
        "download": "1",
    }
    with one_entry("exported", "what_if"):
        admin.post(reverse("admin:billing_what_if"), fields)


def test_repair(admin, finished, monkeypatch):
    with one_entry("updated", "book"):
        admin.post(reverse("admin:billing_book_repair", args=[finished.job.organization_id]))


def test_what_a_service_records_is_recorded_once(admin, organization, project):
    """Quotas and endpoints are changed over the API too, so their services write the entries."""
    fields = {"organization": organization.pk, "scope": "project", "project": project.pk, "limit": "5"}
    with one_entry("created", "quota"):
        admin.post(url_of(Quota, "add"), {**fields, "measure": "usd", "window": "month", "is_hard": "on", "model": ""})
    with one_entry("deleted", "quota"):
        admin.post(url_of(Quota, "delete", Quota.objects.get().pk), {"post": "yes"})
    with one_entry("created", "webhook_endpoint"):
        fields = {"organization": organization.pk, "url": "https://hooks.example.com/", "description": "ours"}
        admin.post(url_of(WebhookEndpoint, "add"), fields)
    endpoint = WebhookEndpoint.objects.get()
    with one_entry("updated", "webhook_endpoint") as entry:
        admin.post(url_of(WebhookEndpoint, "change", endpoint.pk), {"url": endpoint.url, "description": "theirs"})
    assert (entry().before, entry().after) == ({"description": "ours"}, {"description": "theirs"})
    for action in ("disable", "enable", "rotate"):
        with one_entry("updated", "webhook_endpoint"):
            act(admin, WebhookEndpoint, action, endpoint)
    with one_entry("updated", "webhook_endpoint", count=0):
        act(admin, WebhookEndpoint, "test", endpoint)
        act(admin, WebhookDelivery, "replay", WebhookDelivery.objects.get())
    with one_entry("deleted", "webhook_endpoint"):
        admin.post(url_of(WebhookEndpoint, "delete", endpoint.pk), {"post": "yes"})


def test_alert_settings(admin, organization):
    fields = {"percents": ["90", "100"], "doubts_count": "10", "doubts_usd": "10"}
    with one_entry("created", "alert_settings"):
        admin.post(url_of(AlertSettings, "add"), {**fields, "organization": organization.pk})
    settings = AlertSettings.objects.get()
    with one_entry("updated", "alert_settings") as entry:
        admin.post(url_of(AlertSettings, "change", settings.pk), {**fields, "percents": ["100"]})
    assert entry().after == {"percents": [100]}
    with one_entry("deleted", "alert_settings"):
        admin.post(url_of(AlertSettings, "delete", settings.pk), {"post": "yes"})


def test_roles_and_the_second_step(admin, organization, owner):
    user = User.objects.create_user("new@alice.example", "a password for tests")
    fields = {"organization": organization.pk, "user": user.pk, "role": "viewer"}
    with one_entry("created", "membership"):
        admin.post(url_of(Membership, "add"), fields)
    membership = Membership.objects.get(user=user)
    with one_entry("updated", "membership") as entry:
        admin.post(url_of(Membership, "change", membership.pk), {**fields, "role": "billing"})
    assert (entry().before, entry().after) == ({"role": "viewer"}, {"role": "billing"})
    with one_entry("deleted", "membership"):
        admin.post(url_of(Membership, "delete", membership.pk), {"post": "yes"})
    TOTPDevice.objects.create(user=user, name="app", confirmed=True)
    with one_entry("deleted", "second_step"):
        act(admin, User, "switch_off_second_step", user)


def test_pages_of_quotas(admin, organization, project, owner):
    of = [organization.pk]
    new = f"{reverse('admin:billing_quota_new', args=of)}?scope=project&owner={project.pk}"
    limit = {"measure": "usd", "window": "month", "limit": "5", "is_hard": "on", "act": "save"}
    with one_entry("created", "quota"):
        admin.post(new, {**limit, "confirmed": "1"})
    quota = Quota.objects.get()
    page = reverse("admin:billing_quota_page", args=[*of, quota.pk])
    with one_entry("updated", "quota"):
        admin.post(page, {"act": "save", "limit": "6", "is_hard": "on"})
    asked = asking.ask(quota, Decimal(1), reason="more to do", asked_by=owner, by=SERVICE)
    with one_entry("decided", "quota_request"):
        decision = {"request": asked.pk, "act": "approve"}
        admin.post(reverse("admin:billing_quota_requests", args=of), decision)


def test_downloads_of_spend_and_a_review(admin, finished):
    of = [finished.job.organization_id]
    with one_entry("exported", "spend"):
        admin.get(reverse("admin:billing_spend_export", args=of), {"format": "csv"})
    with one_entry("exported", "spend"):
        admin.get(reverse("admin:dashboard_csv", args=[*of, "days"]))
    with one_entry("exported", "spend"):
        admin.get(reverse("admin:waste_csv", args=of))
    with one_entry("exported", "calibration"):
        admin.get(reverse("admin:calibration_csv", args=of))
    for ending in ("csv", "pdf"):
        with one_entry("exported", "statement"):
            admin.get(reverse("admin:billing_statement_file", args=[*of, ending]))
    rollup = SpendRollup.objects.get()
    line = {"project": rollup.project_id, "model": rollup.model, "member": rollup.member_id or ""}
    with one_entry("decided", "spend_review"):
        said = {"act": "questioned", "text": "Why?", "amount": usd(rollup.total_usd)}
        admin.post(reverse("admin:billing_review", args=of), {**line, **said})


# --- The trail itself -------------------------------------------------------------------------------------------------
@pytest.fixture
def paused(admin, project):
    act(admin, Project, "pause", project, reason="=HYPERLINK(1)")
    return AuditEntry.objects.get(subject_type="project")


def test_the_page_shows_before_and_after_and_whether_the_chain_is_intact(admin, paused):
    page = admin.get(url_of(AuditEntry, "change", paused.pk)).text
    assert '<th scope="row">paused_reason</th>' in page
    assert "not verified yet" in page
    audit_verification.verify()
    assert "intact" in admin.get(url_of(AuditEntry, "change", paused.pk)).text
    assert "intact" in admin.get(url_of(AuditEntry, "changelist")).text
    assert "intact" in admin.get(url_of(AuditTrail, "changelist")).text


def test_what_is_listed_is_exported_and_that_is_an_entry(admin, paused, bob):
    with one_entry("exported", "audit_entry") as entry:
        answer = admin.get(reverse("admin:accounts_auditentry_export"), {"subject_type": "project"})
        rows = list(csv.DictReader(b"".join(answer.streaming_content).decode().splitlines()))
    assert [row["subject_name"] for row in rows] == ["Alice research"]
    assert rows[0]["reason"] == "'=HYPERLINK(1)"
    assert entry().after == {"subject_type": "project"}


def test_who_may_not_see_the_trail_gets_none_of_it(paused, staff_with):
    staff = staff_with("billing.view_price")
    for url in (url_of(AuditEntry, "changelist"), url_of(AuditEntry, "change", paused.pk)):
        assert staff.get(url).status_code == 403
    assert staff.get(reverse("admin:accounts_auditentry_export")).status_code == 403
    assert staff_with("accounts.view_auditentry").get(url_of(AuditEntry, "changelist")).status_code == 200


def test_a_member_sees_the_trail_of_their_organization_alone(paused, alice, bob):
    for owner, count in ((alice.owner, 1), (bob.owner, 0)):
        User.objects.filter(pk=owner.pk).update(is_staff=True)
        browser = sign_in(User.objects.get(pk=owner.pk))
        assert browser.get(url_of(AuditEntry, "changelist")).context["cl"].result_count == count
        assert browser.get(url_of(AuditEntry, "change", paused.pk)).status_code == (200 if count else 404)


def test_alerts_and_doubts_are_decided_once(admin, world):
    """A doubt that is closed already makes no entry."""
    with one_entry("decided", "doubt", count=0):
        act(admin, Doubt, "presume_spent", Doubt.objects.get(), reason="long enough", confirmed="1")
