"""Batches at the provider: each line held first, answered once, and settled at the price of batches."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import openai
import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project, User
from accounts.provider_accounts import account_of
from billing.clock import database_now
from billing.models import Budget, Origin, Price, Quota, Reservation, UsageRecord
from billing.money import usd
from billing.reconciliation import runs
from jobs import provider_bill
from jobs.batches import steps
from jobs.batches.at_provider import holding, looking
from jobs.credentials import admin_access_of
from jobs.learning.levels import learnt_for
from jobs.models import Attempt, Batch, File, Job, ProviderBatch
from tests.batches.at_provider import (
    MODEL,
    billed,
    cost_of,
    held,
    line,
    lines,
    names,
    spent,
)
from tests.batches.conftest import QUESTION, file_of, request
from tests.flows.conftest import LONG_AGO
from tests.learning.traffic import Traffic, lognormal

D = Decimal
pytestmark = pytest.mark.timeout(300)  # making the database takes long on a busy machine


# --- The happy path ---------------------------------------------------------------------------------------------------
def test_every_line_is_answered_once_at_half_the_price_and_the_sums_are_equal(there, simulator):
    batch = there.batches.create(lines(30))
    there.work()
    done = there.batches.client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed, done.error_file_id) == ("completed", 30, None)
    assert [one["custom_id"] for one in there.batches.lines(done.output_file_id)] == names(30)
    told = done.to_dict()
    assert D(told["cost"]["total_usd"]) == spent() == cost_of(simulator) > 0
    assert {one["service_tier"] for one in billed(simulator)} == {"batch"}
    assert len(billed(simulator)) == 30
    assert told["at_provider"]["allowed"] is True
    assert told["at_provider"]["answered"] == 30
    assert D(told["at_provider"]["saved_usd"]) == spent()  # half of the standard price
    assert held() == 0
    (row,) = ProviderBatch.objects.all()
    assert (row.status, row.provider_status, row.size, row.answered) == ("closed", "completed", 30, 30)
    assert row.saved_usd == spent()
    assert not File.objects.filter(purpose="fetched").exists()
    assert set(Attempt.objects.values_list("status", flat=True)) == {"answered"}
    assert set(Job.objects.values_list("service_tier", flat=True)) == {"batch"}
    assert set(UsageRecord.objects.values_list("service_tier", flat=True)) == {"batch"}
    assert simulator.counters()["requests"] == 0  # no call, and nothing of any rate limit


def test_every_line_is_held_at_its_bound_before_anything_is_sent(there, simulator):
    there.batches.validate(lines(5))
    steps.work(20)
    (row,) = ProviderBatch.objects.all()
    assert (row.status, row.provider_id, row.size) == ("sending", "", 5)
    price = Price.objects.get(pk=row.price_id)
    assert price.service_tier == "batch"
    bounds = Job.objects.values_list("bound_input_tokens", "bound_output_tokens", "bound_usd")
    for input_tokens, output_tokens, bound in bounds:
        assert (
            bound == (input_tokens * price.input_usd_per_million + output_tokens * price.output_usd_per_million) / 10**6
        )
    assert held() >= sum(one for *_, one in bounds) > 0
    assert set(Attempt.objects.values_list("status", flat=True)) == {"batched"}
    assert not there.batches.client.batches.retrieve(f"batch_{Batch.objects.get().pk.hex}").output_file_id
    there.batches.path.run()  # no worker takes them
    assert simulator.counters()["requests"] == 0
    assert set(Attempt.objects.values_list("status", flat=True)) == {"batched"}


def test_lines_are_held_as_likely_where_a_reserve_holds_the_rest(there, alice):
    Traffic(alice, lognormal, QUESTION, seed=3, model=MODEL).run(300)
    learnt_for.forget()
    organization = alice.organization
    Quota.objects.create(
        organization=organization, scope="organization", measure="reserve_usd", limit=D(10), risk=D("0.01")
    )
    quota = Quota.objects.create(organization=organization, project=alice.project, limit=D("0.03"))
    there.batches.validate(lines(5, max_completion_tokens=16_000))  # 0.0048 USD of answers each, at half the price
    steps.work(20)
    likely = Reservation.objects.filter(status="open").values_list("likely_usd", flat=True)
    assert len(likely) == 5
    assert sum(likely) == Budget.objects.get(quota=quota).held < D("0.015")


def test_jobs_that_run_there_take_no_slot(there, slots):
    slots(2)
    there.batches.validate(lines(5))
    steps.work(20)
    job = there.batches.path.submit()
    there.batches.path.run()
    job.refresh_from_db()
    assert job.status == "succeeded"


def test_the_provider_s_bill_and_the_books_agree(there, simulator, settings, alice):
    settings.OPENAI_ADMIN_KEY, settings.OPENAI_ORG_ID = "sk-admin-tests", f"org-{uuid4()}"
    Project.objects.update(provider_project_id="proj_alice")
    there.batches.create(lines(5))
    there.work()
    account, today = account_of(alice.organization), timezone.now().date()
    run = runs.begin(runs.ask(account, Origin.COMMAND, today - timedelta(days=1), today + timedelta(days=2)).pk)
    bill = provider_bill.fetch(admin_access_of(account), *runs.days_of_bill(run))
    assert {used.service_tier for used in bill.usage} == {"batch"}
    assert sum(priced.usd for priced in bill.costs) == spent() > 0
    lines_of_it = runs.record(run, bill, now=timezone.now() + timedelta(days=10))
    assert {(one.kind, one.difference_usd) for one in lines_of_it} == {("matched", 0)}


def test_the_page_of_a_batch_shows_the_provider_s_ids_and_what_was_saved(there, simulator):
    there.batches.create(lines(3))
    there.work()
    batch, row = Batch.objects.get(), ProviderBatch.objects.get()
    superuser = User.objects.create_superuser("root@bursar.example", "a password for tests")
    client = Client()
    client.force_login(superuser)
    page = client.get(reverse("admin:jobs_batch_change", args=[batch.pk])).content.decode()
    assert row.provider_id in page
    assert "3 lines, completed" in page
    assert usd(batch.saved_usd) in page


# --- Whose lines go there ---------------------------------------------------------------------------------------------
def test_nothing_goes_there_unless_the_project_allows_it(batches):
    batch = batches.create(lines(2))
    batches.work()
    assert batches.client.batches.retrieve(batch.id).status == "completed"
    assert not ProviderBatch.objects.exists()
    with pytest.raises(openai.BadRequestError) as refused:
        batches.create(lines(1), extra_body={"bursar": {"at_provider": True}})
    assert refused.value.code == "at_provider_not_allowed"


def test_a_batch_may_be_kept_from_there(there):
    batch = there.batches.create(lines(2), extra_body={"bursar": {"at_provider": False}})
    assert batch.to_dict()["at_provider"] == {"allowed": False, "answered": 0, "saved_usd": "0.00"}
    there.batches.work()
    assert not ProviderBatch.objects.exists()


@pytest.mark.parametrize("wish", ["yes", {"at_provider": 1}, {"other": True}, []])
def test_a_wish_that_is_none_is_refused(there, wish):
    with pytest.raises(openai.BadRequestError):
        there.batches.create(lines(1), extra_body={"bursar": wish})


def test_a_short_window_is_for_ordinary_jobs(there):
    batch = there.batches.create(lines(2), completion_window="23h")
    assert batch.to_dict()["at_provider"]["allowed"] is False
    with pytest.raises(openai.BadRequestError, match="24 hours"):
        there.batches.create(lines(1), completion_window="23h", extra_body={"bursar": {"at_provider": True}})


def _no_endpoint(project: Project) -> bytes:
    return file_of(request("a"))  # o1-mini


def _no_price(project: Project) -> bytes:
    Price.objects.filter(service_tier="batch").delete()
    return lines(1)


def _little_time_left(project: Project) -> bytes:
    return lines(1)


@pytest.mark.parametrize("because", [_no_endpoint, _no_price, _little_time_left])
def test_lines_run_as_ordinary_jobs_where_the_provider_cannot_have_them(there, project, because):
    batch = there.batches.create(because(project))
    if because is _little_time_left:
        Batch.objects.update(expires_at=timezone.now() + timedelta(hours=11))
    there.work()
    done = there.batches.client.batches.retrieve(batch.id)
    assert (done.status, done.request_counts.completed) == ("completed", 1)
    assert not ProviderBatch.objects.exists()
    assert set(Job.objects.values_list("service_tier", flat=True)) == {"standard"}


def test_content_that_is_not_kept_does_not_go_there(there, project):
    Project.objects.update(content_retention_days=0)
    batch = there.batches.create(lines(1))
    assert batch.to_dict()["at_provider"]["allowed"] is False


def test_a_line_of_another_tier_is_an_ordinary_job(there):
    Price.objects.create(
        model="gpt-4o-mini",
        service_tier="flex",
        input_usd_per_million=1,
        cached_input_usd_per_million=1,
        output_usd_per_million=1,
        effective_from="2024-01-01",
        source="tests",
    )
    there.batches.validate(file_of(line("a"), line("b", service_tier="flex")))
    steps.work(20)
    assert list(Job.objects.order_by("pk").values_list("service_tier", "status")) in (
        [("flex", "queued"), ("batch", "running")],
        [("batch", "running"), ("flex", "queued")],
    )


# --- Limits -----------------------------------------------------------------------------------------------------------
def test_lines_whose_hold_does_not_fit_wait_for_those_that_are_held(there, project, simulator):
    there.batches.validate(lines(12))
    steps.work(20)
    one = Job.objects.first().bound_usd
    there.work()
    Quota.objects.create(organization=project.organization, project=project, limit=spent() + 5 * one)
    batch = there.batches.create(lines(12))
    sizes = []
    for _ in range(40):
        steps.work(5)
        Batch.objects.update(at_provider_after=None)
        there.look()
        if Batch.objects.filter(status="completed").count() == 2:
            break
    sizes = list(ProviderBatch.objects.filter(batch__pk=batch.id.removeprefix("batch_")).values_list("size", flat=True))
    assert max(sizes) <= 5
    assert sum(sizes) == 12
    assert spent() == cost_of(simulator)


def test_a_paused_project_holds_nothing(there, project):
    there.batches.validate(lines(2))
    Project.objects.update(paused_at=timezone.now(), paused_reason="looked at")
    steps.work(20)
    assert not ProviderBatch.objects.exists()
    Project.objects.update(paused_at=None)
    steps.work(20)
    assert ProviderBatch.objects.get().size == 2


def test_many_lines_go_in_several_batches_of_bounded_size(there, monkeypatch, simulator):
    monkeypatch.setattr(holding, "LINES_AT_ONCE", 4)
    batch = there.batches.validate(lines(25))
    Batch.objects.update(at_provider_lines=10)
    there.work()
    done = there.batches.client.batches.retrieve(batch.id)
    assert done.request_counts.completed == 25
    assert sorted(ProviderBatch.objects.values_list("size", flat=True)) == [5, 10, 10]
    assert len(billed(simulator)) == 25


# --- What it costs ----------------------------------------------------------------------------------------------------
def test_the_preview_tells_the_price_there(there, project, simulator):
    def preview(data: bytes) -> dict:
        file = there.batches.upload(data)
        return there.batches.client.post("/batches/preview", cast_to=dict, body={"input_file_id": file.id})

    found = preview(lines(5))
    assert D(found["at_provider"]["bound_usd"]) * 2 == D(found["bound"]["cost_usd"])
    assert D(found["at_provider"]["saving_usd"]) == D(found["at_provider"]["bound_usd"])
    assert "expected_usd" not in found["at_provider"]
    batch = there.batches.create(lines(20))
    there.work()
    now = preview(lines(20))["at_provider"]
    cost = D(there.batches.client.batches.retrieve(batch.id).to_dict()["cost"]["total_usd"])
    assert cost <= D(now["expected_usd"]) <= D(now["bound_usd"])
    assert preview(file_of(request("a")))["at_provider"] is None
    Project.objects.update(may_batch_at_provider=False)
    project.refresh_from_db()
    assert preview(lines(5))["at_provider"] is None


def test_one_question_is_enough_for_all_lines_until_the_next_is_due(there, simulator):
    simulator.set_batches(seconds=3600)
    there.held_and_sent(lines(20))
    ProviderBatch.objects.update(look_at=LONG_AGO)
    before = simulator.counters()["looks"]
    looking.work(0.2)
    looking.work(0.2)
    assert simulator.counters()["looks"] == before + 1
    assert ProviderBatch.objects.get().look_at > database_now()
