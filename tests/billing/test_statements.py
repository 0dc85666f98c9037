"""A month's statement sums to the ledger, names what late truth is about, and is the same file each time."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from pypdf import PdfReader

from billing.models import ClosedMonth
from billing.periods import month_of
from billing.statement_pdf import as_pdf
from billing.statements import MonthStatement, as_csv, statement_of
from tests.billing.exported import MARCH, Adjustment, Call, live, of_ledger

D = Decimal
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
PAST = [
    Call(10, 0, (1000, 100, 2000, 1500), False, 0),
    Call(400, 1, (7, 3, 11, 5), False, 0),
    Call(500, 2, (7, 3, 11, 5), True, 0),
    Adjustment(600, D("0.000000000001"), is_about_march=False),
    Call(700, 3, (9, 0, 9, 0), False, 300),  # answered when March was closed
    Adjustment(900, D("-0.25"), is_about_march=True),
]


@pytest.fixture
def past(project, owner) -> None:
    live(project, owner, PAST)


def statement(project, instant: datetime = MARCH) -> MonthStatement:
    return statement_of(project.organization, month_of(instant))


def text_of(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


def test_a_closed_month(past, project):
    march = statement(project)
    assert not march.is_draft
    assert march.agrees
    assert march.total_usd == ClosedMonth.objects.get().spent_usd == of_ledger(project, MARCH.date(), APRIL.date())
    assert [(line.model, line.service_tier, line.calls, line.about) for line in march.lines] == [
        ("o-test", "batch", 1, None),
        ("o-test", "standard", 2, None),
    ]
    assert [(one.about, one.usd) for one in march.adjustments] == [(None, D("0.000000000001"))]


def test_an_open_month_is_a_draft_that_names_the_months_of_late_truth(past, project):
    april = statement(project, APRIL)
    assert april.is_draft
    assert april.agrees
    assert [(line.model, line.about) for line in april.lines] == [("o-mini-test", MARCH.date())]
    assert [(one.about, one.usd) for one in april.adjustments] == [(MARCH.date(), D("-0.25"))]
    assert april.spent_before_usd == statement(project).total_usd
    assert april.previous_seal == ClosedMonth.objects.get().seal


def test_csv(past, project):
    rows = list(csv.DictReader(io.StringIO(as_csv(statement(project, APRIL)))))
    parts = [D(row["usd"]) for row in rows if row["kind"] in {"usage", "adjustment"}]
    whole = {row["kind"]: D(row["usd"]) for row in rows[-2:]}
    assert whole == {"total": sum(parts), "ledger": sum(parts)}
    assert {row["status"] for row in rows} == {"draft"}
    assert [row["reason"] for row in rows if row["kind"] == "adjustment"] == ["'=a correction"]
    assert rows[0]["about_month"] == "2026-03"


def test_pdf(past, project):
    march = statement(project)
    pdf = as_pdf(march)
    text = text_of(pdf)
    assert "Statement March 2026, Alice" in text
    assert ClosedMonth.objects.get().seal in text
    assert f"Total: {march.total_usd.normalize():f} USD, and sums to the ledger, to the last digit." in text
    assert "0.000000000001" in text
    assert "DRAFT" not in text
    assert as_pdf(statement(project)) == pdf, "the same statement is the same file"


def test_pdf_of_a_draft(past, project):
    type(project).objects.update(name="<b>Zahlen & 日本 </para>")
    text = text_of(as_pdf(statement(project, APRIL)))
    assert "DRAFT: this month is not closed" in text
    assert "2026-03" in text
    assert "<b>Zahlen &" in text
    assert "Nothing was spent" in text_of(as_pdf(statement(project, datetime(2026, 8, 1, tzinfo=UTC))))


def test_a_statement_that_does_not_sum_says_so(past, project):
    march = statement(project)
    march.lines.pop()
    assert not march.agrees
    assert "BUT THE LEDGER SAYS" in text_of(as_pdf(march))
