"""What if: rated from the rollups, exactly, and without a chance to change anything."""

import csv
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import InternalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import Organization, Project
from billing import ledger, price_imports, rerating, rollups
from billing.models import Budget, LedgerEntry, Price, Reservation, SpendRollup, UsageRecord
from billing.price_files import PriceRow, write_csv
from billing.prices import price_on, terms_of
from billing.pricing import PriceTerms, Tokens, cost
from billing.rerating import Line, Report, Scenario, rerate
from billing.rerating_tables import as_csv, as_json, as_table
from tests.billing.conftest import as_owner
from tests.conftest import SEPTEMBER_2024, make_claim

TODAY = datetime.now(UTC).date()
START, END = TODAY - timedelta(days=400), TODAY + timedelta(days=1)
NOVEMBER_2026 = date(2026, 11, 22)


def price(model: str, tier: str = "standard", day: date = SEPTEMBER_2024) -> Price:
    return price_on([model], tier, day)


@transaction.atomic
def call(project: Project, tokens: Tokens, model: str = "o1-preview", *, at: Price | None = None, tier="standard"):
    """A settled call, at the price of the model unless told otherwise."""
    claim = make_claim(project, "9", model=model)
    claim = ledger.Claim(uuid4(), claim.amount_usd, 0, 40_000, claim.owner, tier, at or price(model, tier))
    assert ledger.reserve([claim]) == []
    return ledger.settle(claim.reference, tokens, snapshot=model)


def move(record: UsageRecord, days: int) -> None:
    """Makes it a call of an earlier day, in the rollups too."""
    earlier = f"booked_at - interval '{days} days'"
    as_owner(f"UPDATE billing_usagerecord SET booked_at = {earlier} WHERE id = '{record.pk}'")
    rollups.rebuild(record.organization)


def rated(project: Project, start: date = START, end: date = END, whole: bool = True, **scenario) -> Report:
    return rerate(project.organization, None if whole else project, start, end, Scenario(**scenario))


def only(report: Report) -> Line:
    (line,) = report.lines
    return line


CACHED = Tokens(input=1000, cached_input=400, output=700, reasoning=650)
MATRIX = Tokens(input=43, cached_input=0, output=1279, reasoning=1024)


# --- The figures ------------------------------------------------------------------------------------------------------
def test_the_prices_of_another_day(project: Project):
    call(project, MATRIX, "o1-mini")
    line = only(rated(project, prices_of=date(2025, 2, 1)))
    assert line.amounts.actual_usd == Decimal("0.015477")  # 43 x 3 + 1279 x 12
    assert line.what_if_usd == Decimal("0.0056749")  # 43 x 1.10 + 1279 x 4.40
    assert line.difference_usd == Decimal("-0.0098021")
    assert line.percent == Decimal("-63.3")
    assert [str(used) for used in line.prices] == ["o1-mini standard from 2025-02-01"]


def test_another_service_tier(project: Project):
    call(project, MATRIX)
    line = only(rated(project, service_tier="batch"))
    assert line.what_if_usd == Decimal("0.0386925") == line.amounts.actual_usd / 2
    assert line.service_tier == "standard"
    # Batch came in November 2024; the terms are of September: the first price stands for the time before it.
    assert [used.stands_in for used in line.prices] == [True]
    assert "its first price" in str(line.prices[0])


def test_one_model_as_another(project: Project):
    call(project, MATRIX)
    call(project, MATRIX, "gpt-4o")
    found = {line.model: line for line in rated(project, models={"o1-preview": "o1-mini"}).lines}
    assert found["o1-preview"].what_if_usd == Decimal("0.015477")
    assert found["gpt-4o"].what_if_usd == found["gpt-4o"].amounts.actual_usd  # what is not named stays
    everything = rated(project, models={"": "o1-mini"})
    assert everything.total.what_if_usd == 2 * Decimal("0.015477")


def test_the_prices_of_a_file(project: Project):
    """They go before the stored ones, also where they begin later; what the file does not price stays."""
    call(project, CACHED)
    call(project, CACHED, "o1-mini")
    terms = PriceTerms(Decimal(10), Decimal(1), Decimal(20))
    of_file = [PriceRow("o1-preview", "standard", terms, date(2030, 1, 1), "an announcement")]
    preview, mini = rated(project, price_file=of_file).lines
    assert preview.what_if_usd == Decimal("0.0204")  # 600 x 10 + 400 x 1 + 700 x 20
    assert preview.prices[0].is_of_file
    assert mini.what_if_usd == mini.amounts.actual_usd
    assert not mini.prices[0].is_of_file


def test_several_at_once_are_one_scenario(project: Project):
    call(project, CACHED)
    line = only(rated(project, prices_of=NOVEMBER_2026, service_tier="batch", models={"o1-preview": "gpt-5.5"}))
    assert line.what_if_usd == cost(CACHED, terms_of(price("gpt-5.5", "batch", NOVEMBER_2026))).total_usd


def test_an_unknown_price_is_said_and_never_zero(project: Project):
    call(project, MATRIX)
    call(project, MATRIX, "gpt-4o")
    report = rated(project, service_tier="priority", prices_of=NOVEMBER_2026)
    known, unknown = sorted(report.lines, key=lambda line: line.what_if_usd is None)
    assert (known.model, unknown.model) == ("gpt-4o", "o1-preview")
    assert (unknown.what_if_usd, unknown.difference_usd, unknown.percent) == (None, None, None)
    assert unknown.unknown == "no priority price of o1-preview is known"
    assert report.total.amounts.actual_usd == known.amounts.actual_usd  # like is compared with like
    assert report.unknown_total.amounts.actual_usd == unknown.amounts.actual_usd
    assert report.total.what_if_usd == known.what_if_usd


def test_each_calls_own_day_decides_where_no_terms_are_agreed(project: Project):
    organization = project.organization
    organization.terms_on = None
    organization.save()
    for days, figure in ((10, 1), (5, 2)):
        terms = PriceTerms(Decimal(figure), Decimal(figure), Decimal(figure))
        row = PriceRow("o9", "flex", terms, TODAY - timedelta(days=days), "page")
        price_imports.apply([row], price_imports.preview([row]).digest, actor=None, origin="a test")
    for days in (0, 5, 6, 11):
        move(call(project, Tokens(1_000_000, 0, 0, 0)), days)
    line = only(rated(project, service_tier="flex", models={"": "o9"}))
    assert line.what_if_usd == 2 + 2 + 1 + 1
    assert [str(used.row.effective_from) for used in line.prices] == [
        str(TODAY - timedelta(days=days)) for days in (10, 10, 5)
    ]
    assert [used.stands_in for used in line.prices] == [True, False, False]


def test_a_snapshot_is_rated_as_the_snapshot_that_it_was(project: Project):
    """The rollup knows only the model; a snapshot that is priced apart is told from it by the usage records."""
    call(project, MATRIX, "gpt-4o")
    call(project, CACHED, "gpt-4o", at=price("gpt-4o-2024-08-06"))
    found = {line.priced_as: line for line in rated(project, prices_of=NOVEMBER_2026).lines}
    assert {line.model for line in found.values()} == {"gpt-4o"}
    for name, tokens in (("gpt-4o", MATRIX), ("gpt-4o-2024-08-06", CACHED)):
        line = found[name]
        assert line.amounts.calls == 1
        assert line.amounts.actual_usd == cost(tokens, terms_of(price(name))).total_usd
        assert line.what_if_usd == cost(tokens, terms_of(price(name, day=NOVEMBER_2026))).total_usd


def test_rating_at_the_organizations_own_terms_gives_what_it_did_cost_to_the_last_digit(project: Project):
    """The same prices by another way: any other sum, order or rounding would show."""
    models = ("o1-preview", "o1-mini", "gpt-4o", "gpt-4o-mini")
    for number in range(40):
        model = models[number % 4]
        tokens = Tokens(997 * number + 13, 331 * number, 1009 * number + 7, 503 * number)
        record = call(project, tokens, model, tier="batch" if number % 7 == 3 else "standard")
        move(record, number % 9)
    report = rated(project, prices_of=SEPTEMBER_2024)
    assert len(report.lines) > 4
    for line in report.lines:
        assert line.what_if_usd == line.amounts.actual_usd, line.model
        assert line.percent == 0
    spent = sum(record.total_usd for record in UsageRecord.objects.all())
    assert report.total.what_if_usd == report.total.amounts.actual_usd == spent
    assert report.total.amounts.calls == 40


def test_the_days_and_the_owner_bound_it(project: Project, other_project: Project):
    second = Project.objects.create(organization=project.organization, name="Second", slug="second")
    for days, one in ((0, project), (3, project), (0, second), (0, other_project)):
        move(call(one, MATRIX), days)
    assert rated(project, prices_of=TODAY).total.amounts.calls == 3
    assert rated(project, prices_of=TODAY, whole=False).total.amounts.calls == 2
    assert rated(project, TODAY - timedelta(days=3), TODAY, prices_of=TODAY).total.amounts.calls == 1
    assert rated(project, TODAY - timedelta(days=2), TODAY, prices_of=TODAY).lines == []
    assert rated(project, TODAY, TODAY + timedelta(days=1), prices_of=TODAY).total.amounts.calls == 2


def test_nothing_spent_is_no_line(project: Project):
    report = rated(project, service_tier="batch")
    assert report.lines == []
    assert (report.total.what_if_usd, report.total.percent) == (0, 0)
    assert "No calls" in as_table(report)


def test_more_calls_are_no_more_queries(project: Project):
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            rated(project, service_tier="batch")
        return len(captured)

    call(project, MATRIX, "gpt-4o", at=price("gpt-4o-2024-08-06"))
    few = count()
    for number in range(10):
        move(call(project, MATRIX, ("o1-mini", "gpt-4o")[number % 2]), number)
    assert count() == few < 10


# --- Reads only -------------------------------------------------------------------------------------------------------
def everything() -> dict[str, list]:
    tables = (Budget, LedgerEntry, Price, Reservation, SpendRollup, UsageRecord)
    return {model.__name__: list(model.objects.order_by("pk").values()) for model in tables}


@pytest.mark.parametrize("outer", [False, True], ids=["on its own", "within a transaction"])
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_database_refuses_to_write_while_it_is_rated(project: Project, monkeypatch, outer):
    """Whatever somebody puts there later: the transaction that the rating opens is read only."""
    call(project, MATRIX)
    before = everything()

    def meddle(*args, **kwargs):
        SpendRollup.objects.update(calls=0)

    monkeypatch.setattr(rerating, "rows_between", meddle)

    def rate() -> None:
        with pytest.raises(InternalError, match="read-only transaction"):
            rated(project, service_tier="batch")

    if outer:
        with transaction.atomic():
            rate()
            Project.objects.filter(pk=project.pk).update(name="still writable")
        assert Project.objects.get(pk=project.pk).name == "still writable"
    else:
        rate()
    assert everything() == before


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_all_of_it_is_seen_at_one_instant(project: Project):
    with rerating.read_only(), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only'), current_setting('transaction_isolation')")
        assert cursor.fetchone() == ("on", "repeatable read")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only'), current_setting('transaction_isolation')")
        assert cursor.fetchone() == ("off", "read committed")


def test_a_report_leaves_every_book_as_it_was(project: Project):
    call(project, MATRIX)
    before = everything()
    for scenario in ({"service_tier": "batch"}, {"prices_of": TODAY}, {"models": {"": "o1-mini"}}):
        rated(project, **scenario)
    assert everything() == before


# --- Written out ------------------------------------------------------------------------------------------------------
@pytest.fixture
def report(project: Project) -> Report:
    call(project, MATRIX)
    call(project, CACHED, "gpt-4o")
    return rated(project, service_tier="priority", prices_of=NOVEMBER_2026)


def test_as_csv(report: Report):
    rows = list(csv.DictReader(StringIO(as_csv(report))))
    assert [row["model"] for row in rows] == [
        "o1-preview",
        "gpt-4o",
        "total",
        "no price known, not compared",
    ]
    assert rows[0]["what_if_usd"] == rows[0]["difference_percent"] == ""
    assert rows[0]["prices"] == "no priority price of o1-preview is known"
    assert (rows[1]["actual_usd"], rows[1]["what_if_usd"]) == ("0.0155", "0.0153")
    assert rows[1]["difference_percent"] == rows[2]["difference_percent"] == "-1.3"
    assert rows[3]["actual_usd"] == "0.077385"
    assert rows[3]["what_if_usd"] == ""


def run(*args: object) -> str:
    out = StringIO()
    call_command("rerate_spend", *map(str, args), stdout=out)
    return out.getvalue()


def test_command(report: Report, organization: Organization, tmp_path):
    days = ("--from", START, "--to", END)
    printed = run("alice", *days, "--service-tier", "priority", "--prices-of", NOVEMBER_2026)
    assert printed.strip() == as_table(report).strip()
    for text in ("-1.3 %", "unknown", "without price", "no priority price of o1-preview is known", "0.0153"):
        assert text in printed, text
    as_program = json.loads(run("alice", *days, "--service-tier", "priority", "--prices-of", NOVEMBER_2026, "--json"))
    assert as_program == as_json(report)
    assert as_program["data"][1]["what_if_usd"] == as_program["total"]["what_if_usd"] == "0.0153"
    assert as_program["data"][0]["what_if_usd"] is None
    only_project = json.loads(
        run("alice", *days, "--project", "research", "--model", "gpt-4o=o1-mini", "--model", "=gpt-4o-mini", "--json")
    )
    assert only_project["project"] == "research"
    path = tmp_path / "new.csv"
    terms = PriceTerms(Decimal(0), Decimal(0), Decimal(0))
    path.write_text(write_csv([PriceRow("gpt-4o", "standard", terms, TODAY, "free for all")]))
    free = json.loads(run("alice", *days, "--price-file", path, "--json"))
    assert [line["what_if_usd"] for line in free["data"]] == ["0.077385", "0.00"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("alice",), "Say what is different"),
        (("nobody", "--service-tier", "batch"), "There is no organization 'nobody'"),
        (("alice", "--service-tier", "batch", "--project", "x"), "has no project 'x'"),
        (("alice", "--prices-of", "soon"), "'soon' is no day"),
        (("alice", "--model", "o1-mini"), "not written as MODEL=OTHER"),
        (("alice", "--price-file", "absent.csv"), "was not read"),
        (("alice", "--service-tier", "batch", "--to", "2020-01-01"), "comes after --from"),
    ],
)
def test_command_says_what_it_needs(organization: Organization, args, message):
    with pytest.raises(CommandError, match=message):
        run(args[0], "--from", START, "--to", END, *args[1:])
