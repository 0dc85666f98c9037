"""Price files: what is read, what is told, what the preview shows and what an import does to the stored prices."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from threading import Thread

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from billing import ledger, price_imports
from billing.clock import database_now
from billing.errors import UnknownPrice
from billing.models import Price, Reservation, UsageRecord
from billing.price_files import (
    CACHE_WRITE,
    MAX_BYTES,
    MAX_ROWS,
    REQUIRED,
    PriceFileFaulty,
    PriceRow,
    read,
    write_csv,
)
from billing.price_imports import ImportRefused, Outcome, Plan, PreviewOutdated, Step, stored_rows
from billing.prices import price_on
from billing.pricing import PriceTerms
from tests.billing.conftest import Book
from tests.conftest import SEPTEMBER_2024, make_claim

HEADER = ",".join(REQUIRED)
TODAY = datetime.now(UTC).date()


def row(model: str = "o9", since: date = TODAY, figures: str = "4 2 16", tier: str = "standard", **more) -> PriceRow:
    terms = PriceTerms(*map(Decimal, figures.split()))
    return PriceRow(model, tier, terms, since, **{"source": "the price page", **more})


def faults(content: bytes | str) -> list[tuple[int, str]]:
    with pytest.raises(PriceFileFaulty) as caught:
        read(content)
    assert all(fault.message for fault in caught.value.faults)
    return [(fault.line, fault.field) for fault in caught.value.faults]


def told(content: bytes | str) -> str:
    with pytest.raises(PriceFileFaulty) as caught:
        read(content)
    return str(caught.value)


def line(**changed: str) -> str:
    fields = {**dict(zip(REQUIRED, ("o9", "flex", "2", "1", "8", "2026-01-01", "page"), strict=True)), **changed}
    return ",".join(fields.values())


# --- Reading ----------------------------------------------------------------------------------------------------------
def test_csv_and_json_say_the_same():
    as_csv = f'\ufeff{HEADER}\r\no9,flex, 2.50 ,0.000001,8,2026-01-01,"a page, read today"\r\n\r\n'
    fields = ("o9", "flex", "2.50", "0.000001", "8", "2026-01-01", "a page, read today")
    numbers = '[{"model": "o9", "service_tier": "flex", "input_usd_per_million": 2.50, '
    numbers += '"cached_input_usd_per_million": 0.000001, "output_usd_per_million": 8, '
    numbers += '"effective_from": "2026-01-01", "source": "a page, read today"}]'
    texts = json.dumps([dict(zip(REQUIRED, fields, strict=True))])
    expected = ("o9", "flex", date(2026, 1, 1)), PriceTerms(Decimal("2.50"), Decimal("0.000001"), Decimal(8))
    for content in (as_csv, as_csv.encode(), numbers, texts, f"\n {texts} \n"):
        (found,) = read(content)
        assert (found.key, found.terms, found.source) == (*expected, "a page, read today")


def test_a_price_of_cache_writes_may_be_there_and_is_none_where_it_is_the_inputs():
    text = "\n".join([f"{HEADER},{CACHE_WRITE}", f"{line()},2.50", f"{line(model='o8')},", f"{line(model='o7')},2.000"])
    assert [row.terms.cache_write for row in read(text)] == [Decimal("2.50"), None, None]
    assert [row.terms.written for row in read(text)] == [Decimal("2.50"), Decimal(2), Decimal(2)]
    assert "2, cache_write_usd_per_million: 'x' is no plain number" in told(f"{HEADER},{CACHE_WRITE}\n{line()},x\n")


def test_columns_stand_in_any_order():
    (found,) = read(
        "source,output_usd_per_million,model,service_tier,effective_from,input_usd_per_million,"
        "cached_input_usd_per_million\npage,8,o9,flex,2026-01-01,2,1\n"
    )
    assert found == PriceRow("o9", "flex", PriceTerms(Decimal(2), Decimal(1), Decimal(8)), date(2026, 1, 1), "page", 2)


def test_every_fault_is_told_at_once_with_its_line_and_field():
    wrong = line(model="o 9", service_tier="slow"), line(source="", output_usd_per_million="1e3")
    content = f"{HEADER}\n{wrong[0]}\n{line()}\n\nx,y\n{wrong[1]}\n"
    assert faults(content) == [
        (2, "model"),
        (2, "service_tier"),
        (5, ""),
        (6, "output_usd_per_million"),
        (6, "source"),
    ]


@pytest.mark.parametrize(
    ("field", "text", "way_out"),
    [
        ("model", "", "is missing"),
        ("model", "x" * 101, "longer than 100"),
        ("model", "-o1", "no model's name"),
        ("service_tier", "", "standard, batch, flex, priority"),
        ("service_tier", "Standard", "standard, batch, flex, priority"),
        ("input_usd_per_million", "", "such as 2.50"),
        ("input_usd_per_million", "-1", "without sign or exponent"),
        ("input_usd_per_million", "$1", "no plain number"),
        ("input_usd_per_million", "1e1", "no plain number"),
        ("input_usd_per_million", "NaN", "no plain number"),
        ("input_usd_per_million", "٣", "no plain number"),
        ("input_usd_per_million", "0.0000001", "six decimals"),
        ("input_usd_per_million", "1000001", "more than a dollar a token"),
        ("cached_input_usd_per_million", "", "the input price where the provider takes nothing off"),
        ("cached_input_usd_per_million", "2.01", "dearer than the input"),
        ("effective_from", "", "2026-11-22"),
        ("effective_from", "20260101", "no day"),
        ("effective_from", "2026-02-30", "not in the calendar"),
        ("effective_from", "0206-01-01", "look at the year"),
        ("source", "", "say where"),
        ("source", "=1+1", "formula"),
        ("source", "x" * 301, "longer than 300"),
        ("source", "a\x00b", "cannot be printed"),
    ],
)
def test_a_fault_names_the_way_out(field, text, way_out):
    content = f"{HEADER}\n{line(**{field: text})}\n"
    assert faults(content) == [(2, field)]
    assert way_out in told(content)
    as_json = json.dumps([dict(zip(REQUIRED, line(**{field: text}).split(","), strict=True))])
    assert faults(as_json) == [(1, field)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "it has no prices"),
        (HEADER, "it has no prices"),
        ("[]", "it has no prices"),
        (HEADER.replace(",", ";"), "separate them by commas"),
        (f"{HEADER},colour\n{line()},red", "line 1, colour: is no column"),
        (HEADER.replace(",source", ""), "line 1, source: the header lacks"),
        (f"{HEADER},model\n", "line 1, model: the header has this column twice"),
        (f'{HEADER}\n"o9', "line 2: cannot be read as CSV"),
        ("{}", "is no list"),
        ("[1]", "is no object"),
        ("[\n{},\n]", "line 3: is not JSON"),
        ("[{}] []", "follows the end of the list"),
        ('[{"model": ["o9"], "model": 1, "colour": 1}]', "line 1, model: stands twice"),
        ('[{"model": ["o9"]}]', "line 1, model: is neither text nor a number"),
        ('[{"model": "o9", "colour": 1}]', "line 1, colour: is no field"),
        ('[{"service_tier": "\\ud800"}]', "'?' is no service tier"),
        ("[" * 100_000, "nested too deeply"),
        (b"model\n\xff", "line 2: is not UTF-8"),
        (b"x" * (MAX_BYTES + 1), "may have 1,048,576"),
        ("x" * (MAX_BYTES + 1), "may have 1,048,576"),
    ],
)  # fmt: skip
def test_what_is_no_price_file(content, expected):
    text = told(content)
    assert expected in text
    text.encode()  # can be printed


def test_a_file_has_an_end():
    days = [date(2030, 1, 1) + timedelta(days=number) for number in range(MAX_ROWS + 1)]
    rows = [line(effective_from=str(day)) for day in days]
    assert len(read("\n".join([HEADER, *rows[:-1]]))) == MAX_ROWS
    assert f"at most {MAX_ROWS:,} prices" in told("\n".join([HEADER, *rows]))


def test_a_price_stands_once_in_a_file():
    content = f"{HEADER}\n{line()}\n{line(output_usd_per_million='9')}\n{line(service_tier='batch')}\n"
    assert faults(content) == [(3, "effective_from")]
    assert "line 2 has the same" in told(content)


def test_json_lines_are_those_of_the_file():
    good = json.dumps(dict(zip(REQUIRED, line().split(","), strict=True)), indent=1)
    assert [found.line for found in read(f"[\n\n{good}\n]")] == [3]
    assert faults(f"[\n{good},\n{{}}\n]")[0][0] == 2 + len(good.splitlines())


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,40}", fullmatch=True)
figures = st.decimals(min_value=0, max_value=1_000_000, places=6)
days = st.dates(date(2020, 1, 1), date(2099, 12, 31))
sources = st.text(st.characters(categories=["L", "N", "P"], include_characters=' ,"'), min_size=1, max_size=300)


@given(names, figures, figures, figures, st.none() | figures, days, sources)
def test_what_is_written_is_read_again(name, one, other, output, write, day, source):
    source = f"x{source}".strip()[:300].strip()
    terms = PriceTerms(max(one, other), min(one, other), output, None if write == max(one, other) else write)
    written = PriceRow(name, "batch", terms, day, source, 2)
    assert read(write_csv([written])) == [written]


@pytest.mark.django_db
def test_the_stored_prices_come_out_as_a_file_that_changes_nothing():
    """Export and import are a round trip: every seeded price is unchanged, and none is missing."""
    text = write_csv(stored_rows())
    rows = read(text)
    plan = price_imports.preview(rows)
    assert len(rows) == Price.objects.count() > 100
    assert plan.counts == {Outcome.UNCHANGED: len(rows), Outcome.NEW: 0, Outcome.CHANGED: 0, Outcome.REFUSED: 0}
    with pytest.raises(ImportRefused, match="changes no price"):
        price_imports.apply(rows, plan.digest, actor=None, origin="a test")
    before = write_csv(stored_rows())
    Price.objects.all().delete()
    price_imports.apply(rows, price_imports.preview(rows).digest, actor=None, origin="a test")
    assert write_csv(stored_rows()) == before == text


# --- The preview ------------------------------------------------------------------------------------------------------
def only(plan: Plan) -> Step:
    (step,) = plan.steps
    return step


def add(*rows: PriceRow) -> None:
    price_imports.apply(rows, price_imports.preview(rows).digest, actor=None, origin="a test")


def test_a_new_price_ends_where_the_next_begins(db):
    add(row(since=date(2026, 1, 1), figures="4 2 16"), row(since=date(2026, 9, 1), figures="1 1 1"))
    step = only(price_imports.preview([row(since=date(2026, 5, 1), figures="5 2 8")]))
    assert (step.outcome, step.until, step.predecessor.effective_from) == (
        Outcome.NEW,
        date(2026, 9, 1),
        date(2026, 1, 1),
    )
    assert step.compared == [(4, 5, 25), (2, 2, 0), (16, 8, -50), (4, 5, 25)]
    first, last = price_imports.preview([row(since=date(2025, 1, 1)), row(since=date(2027, 1, 1))]).steps
    assert (first.predecessor, first.until) == (None, date(2026, 1, 1))
    assert (last.predecessor.effective_from, last.until) == (date(2026, 9, 1), None)


def test_prices_of_one_file_follow_each_other(db):
    early, late = price_imports.preview([row(since=date(2026, 1, 1)), row(since=date(2026, 2, 1))]).steps
    assert (early.until, late.predecessor) == (date(2026, 2, 1), early.row)
    assert "look at the spelling" in only(price_imports.preview([row()])).note
    assert late.note == ""


def test_a_changed_price_is_shown_before_and_after_and_replaced_while_nobody_used_it(db, owner: User):
    add(row(figures="4 0 16"))
    stored = Price.objects.get(model="o9")
    changed = [row(figures="3 1 16")]
    plan = price_imports.preview(changed)
    assert plan.counts[Outcome.CHANGED] == 1
    assert only(plan).compared == [(4, 3, -25), (0, 1, None), (16, 16, 0), (4, 3, -25)]
    price_imports.apply(changed, plan.digest, actor=owner, origin="new.csv")
    replaced = Price.objects.get(model="o9")
    assert (replaced.input_usd_per_million, replaced.pk == stored.pk) == (3, False)
    entry = LogEntry.objects.get(object_id=str(replaced.pk))
    assert (entry.action_flag, entry.user) == (CHANGE, owner)
    assert "new.csv: input 3.00, cached input 1.00, output 16.00, instead of input 4.00" in entry.change_message


@pytest.mark.parametrize("is_settled", [False, True])
def test_a_price_that_was_used_is_not_rewritten(book: Book, is_settled):
    reference = book.hold("3")
    if is_settled:
        book.settle(reference, output=10)
    used = Reservation.objects.get(reference=reference).price
    rows = [row("o1-preview", used.effective_from, "1 1 1"), row(since=TODAY)]
    plan = price_imports.preview(rows)
    assert [step.outcome for step in plan.steps] == [Outcome.REFUSED, Outcome.NEW]
    assert "later effective_from" in plan.steps[0].note
    # What comes after a refused line comes after the stored price, which stays.
    later = row("o1-preview", used.effective_from + timedelta(days=1), "30 30 30")
    assert price_imports.preview([rows[0], later]).steps[1].compared[0] == (15, 30, 100)
    before = write_csv(stored_rows())
    with pytest.raises(ImportRefused, match="1 of its lines are refused"):
        price_imports.apply(rows, plan.digest, actor=None, origin="a test")
    assert write_csv(stored_rows()) == before  # nothing of it, the new one neither


def test_calls_that_were_reserved_in_the_time_of_a_new_price_are_told_and_keep_theirs(book: Book):
    """The organization's terms are those of 2024-09-30, so that day decides, and not the one of the call."""
    record = book.settle(book.hold("3"), output=100)
    book.release(book.hold("3"))
    book.hold("3")
    back_dated = row("o1-preview", date(2024, 9, 20), "1 1 1")
    step = only(price_imports.preview([back_dated]))
    assert step.calls == 2
    assert "2 calls since 2024-09-20" in step.note
    assert only(price_imports.preview([row("o1-preview", date(2024, 10, 1), "1 1 1")])).calls == 0
    assert only(price_imports.preview([row("o1-preview", date(2024, 9, 20), "15 15 60")])).calls == 0  # no other price
    assert only(price_imports.preview([row("o1-mini", date(2024, 9, 20), "1 1 1")])).calls == 0
    add(back_dated)
    record.refresh_from_db()
    assert record.total_usd == Decimal("0.006")
    assert record.output_usd_per_million == 60
    assert price_on(["o1-preview"], "standard", SEPTEMBER_2024).output_usd_per_million == 1


def test_calls_without_agreed_terms_count_by_their_own_day(book: Book):
    organization = book.project.organization
    organization.terms_on = None
    organization.save()
    book.hold("3")
    today = database_now().date()
    assert only(price_imports.preview([row("o1-preview", today, "1 1 1")])).calls == 1
    assert only(price_imports.preview([row("o1-preview", today + timedelta(days=1), "1 1 1")])).calls == 0
    assert only(price_imports.preview([row("o1-preview", date(2020, 1, 1), "1 1 1")])).calls == 0


# --- Applying ---------------------------------------------------------------------------------------------------------
def test_what_is_applied_is_what_was_shown(db, owner: User):
    rows = [row(since=date(2026, 1, 1)), row(since=date(2026, 6, 1))]
    plan = price_imports.preview(rows)
    other = [row(since=date(2026, 1, 1)), row(since=date(2026, 6, 1), figures="4 2 17")]
    with pytest.raises(PreviewOutdated):
        price_imports.apply(other, plan.digest, actor=owner, origin="a test")
    add(row(since=date(2026, 3, 1)))  # the first of them would be in force for a shorter time than was shown
    with pytest.raises(PreviewOutdated) as caught:
        price_imports.apply(rows, plan.digest, actor=owner, origin="a test")
    assert Price.objects.filter(model="o9").count() == 1
    assert not LogEntry.objects.exists()
    price_imports.apply(rows, caught.value.plan.digest, actor=owner, origin="new.csv")
    assert Price.objects.filter(model="o9").count() == 3
    assert set(LogEntry.objects.values_list("action_flag", "user")) == {(ADDITION, owner.pk)}
    assert LogEntry.objects.count() == 2


def test_new_calls_do_not_outdate_a_preview(book: Book):
    rows = [row("o1-preview", date(2024, 9, 20), "1 1 1")]
    plan = price_imports.preview(rows)
    book.hold("3")
    assert price_imports.apply(rows, plan.digest, actor=None, origin="a test").steps[0].calls == 1


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_call_that_is_being_reserved_at_a_replaced_price_is_not_reserved(project):
    """It was bound at the old figures; it would be settled at the new ones."""
    add(row(figures="1 1 1"))
    claim = make_claim(project, "1", model="o9")
    with pytest.raises(IntegrityError):
        reserve_while_replaced(claim)
    assert not Reservation.objects.exists()
    assert Price.objects.get(model="o9").output_usd_per_million == 99


@transaction.atomic
def reserve_while_replaced(claim: ledger.Claim) -> None:
    assert ledger.reserve([claim]) == []
    thread = Thread(target=replace_price)  # on a connection of its own
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "a call that is being reserved must not keep others from replacing a price"


def replace_price() -> None:
    try:
        add(row(figures="1 1 99"))
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_imports_of_one_preview_one_is_applied(db):
    rows = [row(since=date(2026, 1, 1))]
    digest = price_imports.preview(rows).digest
    outcomes: list[str] = []

    def run() -> None:
        try:
            price_imports.apply(rows, digest, actor=None, origin="a test")
            outcomes.append("applied")
        except PreviewOutdated:
            outcomes.append("outdated")
        finally:
            connection.close()

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(outcomes) == ["applied", "outdated", "outdated", "outdated"]
    assert Price.objects.filter(model="o9").count() == 1


# --- No two prices at once --------------------------------------------------------------------------------------------
def test_two_prices_of_one_day_cannot_be_stored(db):
    fields = {"model": "o9", "service_tier": "flex", "effective_from": TODAY, "source": "page"}
    terms = dict.fromkeys(("input_usd_per_million", "cached_input_usd_per_million", "output_usd_per_million"), 1)
    Price.objects.create(**fields, **terms)
    with pytest.raises(IntegrityError, match="one_price_per_day"), transaction.atomic():
        Price.objects.create(**fields, **{**terms, "output_usd_per_million": 2})


@pytest.mark.django_db
def test_on_each_day_one_price_is_in_force_and_it_ends_where_the_next_begins():
    """In whatever order they were stored: the last that had begun."""
    starts = [date(2026, 5, 1), date(2026, 1, 1), date(2026, 3, 1), date(2026, 3, 2)]
    for number, since in enumerate(starts):
        add(row(since=since, figures=f"{number + 1} 0 0"))
    for offset in range(-40, 200):
        day = date(2026, 1, 1) + timedelta(days=offset)
        expected = max((since for since in starts if since <= day), default=min(starts))
        assert price_on(["o9"], "standard", day).effective_from == expected, day


def test_no_price_is_never_zero(db):
    for names, tier in ((["o9"], "standard"), (["o1-preview"], "priority")):
        with pytest.raises(UnknownPrice, match="no call is free"):
            price_on(names, tier, TODAY)


def test_a_record_keeps_its_price_whatever_is_imported_later(book: Book):
    record = book.settle(book.hold("3"), output=1000)
    add(row("o1-preview", date(2024, 9, 13), "1 1 1"), row("o1-preview", TODAY, "2 2 2"))
    again = UsageRecord.objects.get(pk=record.pk)
    assert (again.output_usd_per_million, again.total_usd, again.price_id) == (60, Decimal("0.06"), record.price_id)
    with pytest.raises(ProtectedError):
        again.price.delete()


def test_a_hold_is_settled_at_the_price_it_was_made_at_though_another_came_between(book: Book):
    reference = book.hold("3")
    add(row("o1-preview", date(2024, 9, 13), "1 1 1"))
    assert book.settle(reference, output=1000).total_usd == Decimal("0.06")
    assert book.settle(book.hold("3"), output=1000).total_usd == Decimal("0.001")


# --- The command ------------------------------------------------------------------------------------------------------
def run(*args: object) -> str:
    out = StringIO()
    call_command("import_prices", *map(str, args), stdout=out)
    return out.getvalue()


def test_command(db, tmp_path, owner: User):
    path = tmp_path / "new.csv"
    path.write_text(write_csv([row(since=date(2026, 1, 1)), row(since=date(2026, 3, 1), figures="2 2 8")]))
    shown = run(path)
    assert "new        o9 standard from 2026-01-01 until 2026-03-01" in shown
    assert "input 2.00 (-50.0 %), cached input 2.00 (+0.0 %), output 8.00 (-50.0 %)" in shown
    assert "after the price from 2026-01-01" in shown
    assert "2 new, 0 changed, 0 unchanged, 0 refused." in shown
    assert "Nothing was changed" in shown
    assert not Price.objects.filter(model="o9").exists()
    digest = shown.strip().rpartition(" ")[2]
    with pytest.raises(CommandError, match="Prices changed since the preview"):
        run(path, "--apply", "--digest", "0" * 64)
    with pytest.raises(CommandError, match="no active user"):
        run(path, "--apply", "--actor", "nobody@bursar.example")
    assert "2 added, 0 replaced" in run(path, "--apply", "--digest", digest, "--actor", owner.email)
    assert LogEntry.objects.filter(user=owner).count() == 2
    with pytest.raises(CommandError, match="changes no price"):
        run(path, "--apply")


def test_command_tells_every_fault(db, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(f"{HEADER}\n{line(model='')}\n{line(source='')}\n")
    with pytest.raises(CommandError, match="has 2 faults") as caught:
        run(path, "--apply")
    for place in ("line 2, model", "line 3, source"):
        assert place in str(caught.value)
    with pytest.raises(CommandError, match="could not be read"):
        run(tmp_path / "absent.csv")
