"""The report of a month: it sums to the ledger to the last digit, and each dollar has one place."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from billing.clock import database_now
from billing.models import LedgerEntry
from billing.pricing import Tokens
from jobs.models import Batch, BatchLine, File, Job, WasteLine, WasteReport
from jobs.states import DoubtStatus, JobStatus
from jobs.waste import making, preparing, reckoning
from jobs.waste.filtering import wasted_in
from jobs.waste.making import DoesNotSum, is_current, make
from jobs.waste.telling import as_csv, summary_of
from tests.billing.conftest import as_owner
from tests.waste.conftest import Month, days_ago

pytestmark = pytest.mark.django_db
D = Decimal
WITH_A_CACHE = date(2024, 11, 28)
PREFIX = UUID(int=7)


def made(month: Month) -> WasteReport:
    return make(month.project, month.first)


def found(month: Month) -> dict[str, tuple[Decimal, int]]:
    told = summary_of([made(month)])
    assert told.agrees
    assert told.total_usd == sum(LedgerEntry.objects.values_list("spent_change_usd", flat=True), D(0))
    return {line.category.value: (line.usd, line.jobs) for line in told.lines if line.jobs}


def test_a_month_of_everything(month: Month):
    month.paid()  # 0.09
    month.paid(is_empty=True)
    month.paid(is_refused=True)
    month.paid(read_at=None, finished_at=days_ago(8))
    month.paid(read_at=None)  # may still be fetched
    rerun = month.job()
    month.pay(rerun, Tokens(9000, 0, 9000, 0), doubt=DoubtStatus.RERUN)  # 0.675, its bound
    month.pay(rerun, number=2)
    presumed = month.job(status=JobStatus.FAILED)
    month.pay(presumed, Tokens(9000, 0, 9000, 0), doubt=DoubtStatus.PRESUMED_SPENT)
    month.paid(status=JobStatus.CANCELLED)
    month.adjust("-0.5")
    assert found(month) == {
        "retry": (D("1.44"), 3),
        "empty": (D("0.09"), 1),
        "refused": (D("0.09"), 1),
        "unread": (D("0.09"), 1),
    }
    report = WasteReport.objects.get()
    assert (report.useful_usd, report.corrections_usd, report.ledger_usd) == (D("0.27"), D("-0.5"), D("1.48"))
    assert report.calls == 9


def test_an_answer_that_was_found_later_is_no_retry(month: Month):
    job = month.job()
    month.pay(job, doubt=DoubtStatus.FOUND)
    assert found(month) == {}


def test_long_answers_of_the_project(month: Month):
    for _ in range(20):
        month.paid("o1-mini", Tokens(100, 0, 400, 200))
    long = month.paid("o1-mini", Tokens(100, 0, 1200, 200))
    # Visible: 1,000, of which 600 are usual.
    assert found(month) == {"long": (D("0.0048"), 1)}
    assert list(wasted_in(Job.objects.all(), "long")) == [long]


def test_nothing_is_usual_for_few_answers(month: Month):
    for _ in range(18):
        month.paid("o1-mini", Tokens(100, 0, 400, 200))
    month.paid("o1-mini", Tokens(100, 0, 1200, 200))
    assert found(month) == {}


def test_input_that_was_sent_again(month: Month, monkeypatch):
    monkeypatch.setattr(reckoning, "CACHE_READY", timedelta(0))
    for cached in (0, 0, 1024):
        month.pay(month.job(prompt_prefix=PREFIX), Tokens(2000, cached, 10, 0), priced_on=WITH_A_CACHE)
    month.pay(month.job(prompt_prefix=UUID(int=8)), Tokens(2000, 0, 10, 0), priced_on=WITH_A_CACHE)
    assert found(month) == {"cache_miss": (D("0.00768"), 1)}


def test_a_cheaper_model_that_answers_as_often(month: Month):
    for _ in range(20):
        month.paid()
        month.paid("o1-mini")
    # 20 calls of 0.09; o1-mini takes 0.018 for the same tokens.
    assert found(month) == {"dear_model": (D("1.44"), 20)}
    (switch,) = WasteReport.objects.get().switches
    assert switch == {
        "model": "o1-preview",
        "instead": "o1-mini",
        "because": "used alike",
        "calls": 20,
        "usd": "1.44",
    }


def test_one_that_answers_less_often_is_no_replacement(month: Month):
    for number in range(20):
        month.paid()
        month.paid("o1-mini", is_empty=number == 0)
    assert "dear_model" not in found(month)


def test_the_successor_is_cheaper(month: Month, organization):
    """In 2025 the catalogue names one for gpt-4.5-preview that can be called."""
    organization.terms_on = date(2025, 7, 1)
    organization.save()
    month.pay(month.job("gpt-4.5-preview"), priced_on=organization.terms_on)
    ((category, (usd, jobs)),) = found(month).items()
    (switch,) = WasteReport.objects.get().switches
    assert (category, jobs, switch["because"], switch["calls"]) == ("dear_model", 1, "successor", 1)
    assert switch["instead"] == "gpt-4.1"
    # 2,000 tokens at 75 and 1,000 at 150 dollars a million, instead of at 2 and 8.
    assert usd == D("0.3") - D("0.012")


def test_a_file_that_was_downloaded_has_its_answers_read(month: Month):
    now = database_now()
    job = month.paid(read_at=None, finished_at=days_ago(8))
    files = [
        File.objects.create(project=month.project, filename="x", purpose="batch", status="processed", created_at=now)
        for _ in range(2)
    ]
    batch = Batch.objects.create(
        project=month.project,
        input_file=files[0],
        output_file=files[1],
        status="completed",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        priority=0,
        completed_at=now,
        output_expires_after=timedelta(days=30),
        created_at=now,
        expires_at=now,
    )
    BatchLine.objects.create(batch=batch, number=1, position=0, length=1, custom_id="x", status="completed", job=job)
    assert "unread" in found(month)
    File.objects.filter(pk=files[1].pk).update(read_at=now)
    assert found(month) == {}


def test_lines_are_made_anew(month: Month):
    job = month.paid(is_empty=True)
    first = made(month)
    month.paid(is_empty=True)
    again = made(month)
    assert first.pk == again.pk
    assert WasteLine.objects.count() == 2
    assert WasteLine.objects.get(job=job).usd == D("0.09")


def test_each_project_and_month_has_its_own(month: Month, bob):
    month.paid(is_empty=True)
    Month(bob).paid(is_empty=True)
    report = made(month)
    assert (report.calls, report.ledger_usd) == (1, D("0.09"))
    before = (month.first - timedelta(days=1)).replace(day=1)
    empty = make(month.project, before)
    assert (empty.calls, empty.ledger_usd, summary_of([empty]).agrees) == (0, 0, True)


def test_books_that_differ_are_told_and_not_stored(month: Month):
    month.paid()
    as_owner("UPDATE billing_usagerecord SET input_usd = input_usd + 0.001, total_usd = total_usd + 0.001")
    with pytest.raises(DoesNotSum):
        made(month)
    assert not WasteReport.objects.exists()


# --- When it is made --------------------------------------------------------------------------------------------------
def test_it_is_current_until_money_moves_or_an_hour_has_passed(month: Month):
    month.paid()
    report, now = made(month), database_now()
    assert is_current(report, now)
    assert not is_current(report, now + timedelta(hours=2))
    month.paid()
    assert not is_current(report, now)


def test_a_month_long_ago_stays_current(month: Month):
    old = make(month.project, date(2025, 1, 1))
    assert is_current(old, database_now() + timedelta(days=30))


def test_a_large_month_is_made_in_the_background_alone(month: Month, monkeypatch):
    month.paid(is_empty=True)
    month.paid()
    monkeypatch.setattr(making, "MOST_WHILE_ASKED", 1)
    monkeypatch.setattr(preparing, "MOST_WHILE_ASKED", 1)
    assert preparing.report_of(month.project, month.first) is None
    assert preparing.prepare() == 1
    report = preparing.report_of(month.project, month.first)
    assert report is not None
    assert report.calls == 2
    assert preparing.prepare() == 0
    month.paid()
    # What there is, is better than nothing.
    assert preparing.report_of(month.project, month.first).calls == 2
    assert preparing.prepare() == 1
    assert preparing.report_of(month.project, month.first).calls == 3


def test_a_small_month_is_made_while_it_is_asked_for(month: Month):
    month.paid()
    assert preparing.report_of(month.project, month.first).calls == 1
    month.paid()
    assert preparing.report_of(month.project, month.first).calls == 2
    assert preparing.prepare() == 0


def test_the_file_sums_to_its_last_row(month: Month):
    month.paid(is_empty=True)
    month.paid()
    month.adjust("0.000000000001")
    _, *rows = as_csv([made(month)]).splitlines()
    by_category: dict[str, Any] = {row.split(",")[3]: D(row.split(",")[5]) for row in rows}
    ledger = by_category.pop("ledger")
    assert sum(by_category.values()) == ledger == D("0.180000000001")
