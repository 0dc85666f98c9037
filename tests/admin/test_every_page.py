"""Every registered model has its pages, for those who may see them and nobody else; new models are covered too."""

from collections.abc import Iterator

import pytest
from django.apps import apps
from django.contrib import admin as django_admin
from django.contrib.auth.models import Group
from django.db import transaction
from django.test import Client
from django.urls import reverse

from accounts import remembered
from accounts.models import (
    ApiKey,
    AuditEntry,
    AuditTrail,
    IdempotencyRecord,
    Membership,
    TierOverride,
    User,
)
from billing.models import (
    Alert,
    Book,
    Budget,
    ClosedMonth,
    Crossing,
    DayKeyRollup,
    DayModelRollup,
    DayRollup,
    Hold,
    HourRollup,
    KeyRollup,
    LedgerEntry,
    ModelRollup,
    ProjectRollup,
    QuotaRequest,
    ReconciledDay,
    ReconciliationDecision,
    ReconciliationLine,
    ReconciliationRun,
    Reservation,
    ReviewedLine,
    ReviewNote,
    SpendRollup,
    UsageRecord,
    Verification,
    WebhookDelivery,
    WebhookTry,
)
from jobs.models import (
    Attempt,
    Batch,
    BatchLine,
    Breaker,
    Calibration,
    Comparison,
    ComparisonRun,
    Distribution,
    Doubt,
    File,
    FileChunk,
    Job,
    JobContent,
    ModelSnapshot,
    ProviderBatch,
    Queue,
    Share,
    Undelivered,
    Unlearnt,
    WasteLine,
    WasteReport,
    Watch,
    Worker,
)
from tests.admin.conftest import Finished, fill_world, finish_job, sign_in
from tests.conftest import make_tenant

BOOKS = {Book, Budget, ClosedMonth, Hold, LedgerEntry, Reservation, SpendRollup, UsageRecord}
RECONCILIATION = {ReconciledDay, ReconciliationDecision, ReconciliationLine, ReconciliationRun}
READ_ONLY = {
    *BOOKS,
    *RECONCILIATION,
    Alert,
    AuditEntry,
    AuditTrail,
    Batch,
    Breaker,
    Comparison,
    QuotaRequest,
    ReviewedLine,
    Verification,
    Job,
    JobContent,
    IdempotencyRecord,
    Queue,
    Worker,
    Doubt,
    Undelivered,
    WebhookDelivery,
}
# The same totals as in the finest rollup, which has a page.
COARSER = {DayKeyRollup, DayModelRollup, DayRollup, HourRollup, KeyRollup, ModelRollup, ProjectRollup}
# Shown within the pages of their owners.
INLINE = {Attempt, BatchLine, ComparisonRun, File, ModelSnapshot, ProviderBatch, ReviewNote, WebhookTry}
# Prompts and answers in bulk, which the API alone gives back.
CONTENT = {FileChunk}
# How fair turns, silence and alerts are reckoned; nothing that a person could read from it.
RECKONING = {Crossing, Share, Watch}
# Shown on pages of their own, as pictures and reports.
ON_PAGES = {Calibration, Distribution, Unlearnt, WasteLine, WasteReport}
REGISTERED = sorted(django_admin.site._registry, key=lambda model: model._meta.label)
OURS = [model for model in REGISTERED if model._meta.app_label in {"accounts", "billing", "jobs"}]
of_every_model = pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.label)
of_read_only_models = pytest.mark.parametrize(
    "model", sorted(READ_ONLY, key=lambda model: model._meta.label), ids=lambda model: model._meta.label
)


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker) -> Iterator[Finished]:
    """One for all of them; whatever a test changes, it takes back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "is_on", False)
        with django_db_blocker.unblock(), transaction.atomic():
            alice = make_tenant("Alice")
            yield fill_world(alice.organization, alice.owner, finish_job(alice.project, alice.owner))
            transaction.set_rollback(True)


def page(model, name: str, *args) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


def a_row(model):
    if model is Group:
        Group.objects.get_or_create(name="accountants")
    return model._default_manager.first()


def test_every_model_is_registered():
    models = {model for label in ("accounts", "billing", "jobs") for model in apps.get_app_config(label).get_models()}
    assert models - INLINE - COARSER - CONTENT - RECKONING - ON_PAGES == set(OURS)


@of_every_model
def test_superuser_sees_list_and_row(admin: Client, world, model):
    row = a_row(model)
    assert row is not None, "the world of the tests needs a row of this model"
    for url in (page(model, "changelist"), page(model, "change", row.pk), page(model, "history", row.pk)):
        assert admin.get(url).status_code == 200, url


@of_every_model
def test_add_page(admin: Client, world, model):
    expected = 403 if model in READ_ONLY else 200
    assert admin.get(page(model, "add")).status_code == expected


@of_every_model
def test_search(admin: Client, world, model):
    assert django_admin.site._registry[model].search_fields
    for term in ("preview", "alice 100", "0190b0a6-0000-7000-8000-000000000000", "%", "a\x00b", "'\"\\"):
        answer = admin.get(page(model, "changelist"), {"q": term})
        assert answer.status_code == 200, term


@of_every_model
def test_every_filter_and_order(admin: Client, world, model):
    """The last choice of each filter opens, and the list by each column."""
    answer = admin.get(page(model, "changelist"))
    changelist = answer.context["cl"]
    choices = [list(spec.choices(changelist))[-1]["query_string"] for spec in changelist.filter_specs]
    orders = [f"?o={number}" for number, _ in enumerate(changelist.list_display)]
    for query in {*choices, *orders}:
        assert admin.get(page(model, "changelist") + query).status_code == 200, query


@of_every_model
def test_staff_without_permission_and_others_are_refused(staff_with, world, model):
    row = a_row(model)
    names = [("changelist",), ("add",), ("change", row.pk), ("delete", row.pk)]
    nobody = User.objects.create_user("nobody@elsewhere.example", "a password for tests")
    stranger, no_member, staff = Client(), sign_in(nobody), staff_with()
    for name in names:
        url = page(model, *name)
        assert staff.get(url).status_code == 403, url
        for outsider in (stranger, no_member):
            assert outsider.get(url).status_code == 302, url


@of_read_only_models
def test_read_only_for_superusers_too(admin: Client, world, model):
    row = model._default_manager.first()
    before = model._default_manager.filter(pk=row.pk).values().get()
    assert admin.post(page(model, "add"), {}).status_code == 403
    assert admin.post(page(model, "change", row.pk), {"status": "open", "reason": "x"}).status_code == 403
    assert admin.post(page(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
    admin.post(page(model, "changelist"), chosen)
    assert model._default_manager.filter(pk=row.pk).values().get() == before


@pytest.mark.parametrize("model", [ApiKey, TierOverride], ids=lambda model: model._meta.label)
def test_not_deletable(admin: Client, world, model):
    row = model._default_manager.first()
    assert admin.post(page(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert model._default_manager.filter(pk=row.pk).exists()


def test_what_has_a_past_is_not_deleted(admin: Client, world):
    """A project with jobs, keys and spend stays, whoever asks."""
    project = world.job.project
    answer = admin.post(page(type(project), "delete", project.pk), {"post": "yes"})
    assert type(project).objects.filter(pk=project.pk).exists()
    assert answer.status_code in {200, 403}


def test_index(admin: Client, world):
    answer = admin.get(reverse("admin:tables"))
    assert "Bursar" in answer.text
    assert 'href="/api/v1/docs"' in answer.text
    assert reverse("admin:organizations") in answer.text
    labels = [app["app_label"] for app in answer.context["app_list"]]
    assert labels[:3] == ["jobs", "billing", "accounts"]
    assert reverse("admin:organizations") in admin.get(reverse("admin:app_list", args=["jobs"])).text


def test_index_of_staff_without_permission_has_no_spend(staff_with):
    answer = staff_with("billing.view_price").get(reverse("admin:index"))
    assert reverse("admin:organizations") not in answer.text


def test_memberships_are_unique(admin: Client, world):
    """A second membership of one user in one organization is an error of the form."""
    membership = Membership.objects.select_related("organization", "user").get()
    fields = {"organization": membership.organization_id, "user": membership.user_id, "role": "viewer"}
    answer = admin.post(page(Membership, "add"), fields)
    assert answer.status_code == 200
    assert Membership.objects.count() == 1
