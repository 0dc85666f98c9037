"""What leaves the books as a file sums to the ledger, and is nothing but numbers and text to whoever opens it."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from accounts.models import Team
from billing.csv_files import safe, safe_in_sql, written
from billing.exports import focus
from billing.exports.selection import Selection
from billing.exports.streams import Format, count
from billing.models import UsageRecord
from tests.billing.exported import MARCH, PASTS, Adjustment, Call, call, exported, live, of_ledger

D = Decimal
FEBRUARY, JUNE = date(2026, 2, 1), date(2026, 6, 1)
MONTHS = [(date(2026, month, 1), date(2026, month + 1, 1)) for month in (3, 4, 5)]
# FOCUS_Spec: those that version 1.2 (tag v1.2) calls mandatory, and the two that 1.3 added to them.
MANDATORY = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity"),
    *("PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
    *("ServiceProviderName", "HostProviderName"),
}
NOT_NULL = MANDATORY - {"ChargeClass", "PricingQuantity", "PricingUnit"}
CALL = Call(at=10, price=0, tokens=(43, 0, 1279, 1024), is_presumed=False, answered_after=0)


def selected(project, start=FEBRUARY, end=JUNE, **filters) -> Selection:
    return Selection(project.organization, start, end, **filters)


def usd_sum(rows, name: str = "BilledCost") -> Decimal:
    return sum((D(row[name]) for row in rows), D(0))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example is a past of some transactions
)
@given(past=PASTS, split=st.integers(0, 80))
def test_every_file_sums_to_the_ledger(project, owner, past, split):
    with transaction.atomic():
        live(project, owner, past)
        for start, end in [*MONTHS, (FEBRUARY, JUNE)]:
            whole = of_ledger(project, start, end)
            rows = exported(selected(project, start, end), Format.FOCUS)
            assert usd_sum(rows) == whole
            assert usd_sum(exported(selected(project, start, end), Format.CSV), "total_usd") == whole
            for row in rows:
                check(row)
        meters(exported(selected(project), Format.FOCUS))
        # Two parts of a period are the period, wherever it is cut.
        cut = FEBRUARY + timedelta(days=split)
        for form, cost in ((Format.FOCUS_PARQUET, "BilledCost"), (Format.PARQUET, "total_usd")):
            parts = [exported(selected(project, *days), form) for days in ((FEBRUARY, cut), (cut, JUNE))]
            assert usd_sum([*parts[0], *parts[1]], cost) == of_ledger(project, FEBRUARY, JUNE)
        transaction.set_rollback(True)


def check(row) -> None:
    """A row holds what FOCUS wants of it, exactly."""
    assert all(row[name] for name in NOT_NULL)
    assert row["BilledCost"] == row["EffectiveCost"] == row["ListCost"] == row["ContractedCost"]
    assert re.fullmatch(r"2026-0\d-\d\dT\d\d:00:00Z", row["ChargePeriodStart"])
    of_closed = row["ChargePeriodStart"] < row["BillingPeriodStart"]
    assert row["ChargeClass"] == ("Correction" if of_closed else "")
    if row["ChargeCategory"] == "Adjustment":
        empty = ("ConsumedQuantity", "PricingQuantity", "PricingUnit", "ListUnitPrice", "SkuId", "SkuPriceId")
        assert not any(row[name] for name in empty)
        assert row["ChargeDescription"] == "'=a correction"
        return
    assert row["PricingUnit"] == "1000000 Tokens"
    assert D(row["PricingQuantity"]) * 1_000_000 == int(row["ConsumedQuantity"]) > 0
    assert D(row["ContractedUnitPrice"]) * D(row["PricingQuantity"]) == D(row["BilledCost"])
    assert row["SkuPriceId"] == f"{row['SkuId']}/{row['x_ServiceTier']}"
    assert json.loads(row["SkuPriceDetails"])["x_TokenType"] == row["x_TokenType"]


def meters(rows) -> None:
    """The meters are all tokens of the usage records, each once."""
    tokens = dict.fromkeys(("input", "cache-write", "cached-input", "output", "output-reasoning"), 0)
    for row in rows:
        if row["ChargeCategory"] == "Usage":
            tokens[row["x_TokenType"]] += int(row["ConsumedQuantity"])
    records = list(UsageRecord.objects.all())
    read = tokens["input"] + tokens["cache-write"]
    assert read + tokens["cached-input"] == sum(record.input_tokens for record in records)
    assert tokens["cache-write"] == sum(record.cache_write_tokens for record in records)
    assert tokens["cached-input"] == sum(record.cached_input_tokens for record in records)
    assert tokens["output"] + tokens["output-reasoning"] == sum(record.output_tokens for record in records)
    assert tokens["output-reasoning"] == sum(record.reasoning_tokens for record in records)


def test_columns_of_focus():
    names = [column.name for column in focus.COLUMNS]
    assert set(names) >= MANDATORY
    assert len(set(names)) == len(names)
    ours = [name.startswith("x_") for name in names]
    assert ours == sorted(ours), "columns of our own come after those of FOCUS"


def test_rows_are_told_apart_by_price_tier_and_what_is_known_of_them(project, owner):
    """One hour, one model: two prices and a batch price, a presumed call, and a second call at the first price."""
    live(project, owner, [CALL, CALL, *(Call(10, n, (10, 4, 6, 2), False, 0) for n in (1, 2))])
    rows = exported(selected(project), Format.FOCUS)
    assert len(rows) == 2 + 4 + 4 + 0 + 1  # the first price has no cached input: three meters
    reasoning = [row for row in rows if row["x_TokenType"] == "output-reasoning"]
    assert {(row["x_ServiceTier"], row["ListUnitPrice"], row["ConsumedQuantity"]) for row in reasoning} == {
        ("standard", "60", "2048"),
        ("standard", "12.345678", "2"),
        ("batch", "30", "2"),
    }
    assert len({row["SkuId"] for row in reasoning}) == 1
    assert len({row["SkuPriceId"] for row in reasoning}) == 2
    assert len({row["x_PriceId"] for row in reasoning}) == 3


def test_a_call_that_was_presumed_spent_says_so(project, owner):
    live(project, owner, [CALL, Call(10, 0, (43, 0, 1279, 0), True, 0)])
    rows = exported(selected(project), Format.FOCUS_PARQUET)
    assert {(row["x_IsPresumed"], row["ConsumedQuantity"]) for row in rows if row["x_TokenType"] == "output"} == {
        (False, 255),
        (True, 1279),
    }
    usage = exported(selected(project), Format.CSV)
    assert sorted(row["is_presumed"] for row in usage) == ["false", "true"]


def test_late_truth_names_the_month_it_is_about(project, owner):
    """A call of March that was answered when March was closed, and an adjustment: both are money of April."""
    live(project, owner, [Call(10, 0, (0, 0, 100, 0), False, 1100), Adjustment(1000, D("-0.5"), is_about_march=True)])
    assert exported(selected(project, *MONTHS[0]), Format.FOCUS) == []
    rows = exported(selected(project, *MONTHS[1]), Format.FOCUS)
    adjustment, late = sorted(rows, key=lambda row: row["ChargeCategory"])
    assert (late["ChargeCategory"], late["ChargeClass"], late["ChargePeriodStart"], late["BillingPeriodStart"]) == (
        *("Usage", "Correction", "2026-03-01T10:00:00Z", "2026-04-01T00:00:00Z"),
    )
    assert [adjustment[name] for name in ("ChargePeriodStart", "ChargePeriodEnd", "ChargeClass", "BilledCost")] == [
        *("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z", "Correction", "-0.5"),
    ]
    late, corrected = exported(selected(project), Format.PARQUET)[::-1]
    assert {late["kind"], corrected["kind"]} == {"usage", "adjustment"}
    assert late["corrects_month"] == corrected["corrects_month"] == datetime(2026, 3, 1, tzinfo=UTC)


def test_filters(project, owner, organization):
    team = Team.objects.create(organization=organization, name="Numbers")
    sibling = organization.projects.create(name="Sibling", slug="sibling", team=team)
    live(project, owner, [CALL, Adjustment(5, D(1), is_about_march=False)])
    call(sibling, MARCH + timedelta(days=2))
    assert len(exported(selected(project), Format.CSV)) == 3
    assert [row["project"] for row in exported(selected(project, teams=[team.pk]), Format.CSV)] == ["Sibling"]
    assert len(exported(selected(project, projects=[project.pk]), Format.CSV)) == 2
    assert exported(selected(project, projects=[]), Format.CSV) == []
    assert [row["kind"] for row in exported(selected(project, models=["o-test"]), Format.CSV)] == ["usage"] * 2
    assert exported(selected(project, models=["gpt-4o"]), Format.FOCUS) == []
    assert exported(selected(project, MARCH.date() + timedelta(days=2)), Format.CSV)[0]["project"] == "Sibling"


def test_nothing_spent_is_a_file_with_a_header(project):
    for form in Format:
        assert exported(selected(project), form) == []


def test_nothing_of_another_organization(project, owner, other_project):
    live(project, owner, [CALL, Adjustment(5, D(1), is_about_march=False)])
    for form in Format:
        assert exported(selected(other_project), form) == []
        assert len(exported(selected(project), form)) == count(selected(project), form)


def test_names_are_no_formulas_in_a_spreadsheet_and_themselves_in_parquet(project, owner, organization):
    name = '=HYPERLINK("https://evil.example","a, b")\n'
    type(project).objects.filter(pk=project.pk).update(name=name)
    live(project, owner, [CALL, Adjustment(5, D("-2"), is_about_march=False)])
    assert {row["project"] for row in exported(selected(project), Format.CSV)} == {f"'{name}"}
    assert {row["SubAccountName"] for row in exported(selected(project), Format.FOCUS)} == {f"'{name}"}
    assert {row["SubAccountName"] for row in exported(selected(project), Format.FOCUS_PARQUET)} == {name}
    assert "-2" in {row["total_usd"] for row in exported(selected(project), Format.CSV)}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\tx", "\rx", "'=1", "1=1", "", " =1", "ü", '"=1'])
def test_the_two_guards_against_formulas_are_one(db, text):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {safe_in_sql('given')} FROM (SELECT %s::text AS given) AS cell", [text])
        assert cursor.fetchone() == (safe(text),)


def test_csv_of_values():
    rows = [["=cmd", D("-1.50"), 3, None, date(2026, 3, 1)], [D("1E-7"), "-", "a,b", "", 0]]
    assert written(["a", "b", "c", "d", "e"], rows) == (
        "a,b,c,d,e\r\n'=cmd,-1.50,3,,2026-03-01\r\n0.0000001,'-,\"a,b\",,0\r\n"
    )
