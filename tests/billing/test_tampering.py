"""Whatever is done to the books behind the door, `verify` finds it: random tampers on the books of two organizations.

More with `TAMPERS=10000`; the same ones again with `TAMPER_SEED=n`.
"""

import os
import random
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DataError, IntegrityError, connection, transaction

from accounts.models import Organization, Team
from billing import closing, ledger
from billing.models import LedgerEntry, UsageRecord
from billing.verification import CHECKS, verify
from tests.billing.conftest import BOOKS, Book
from tests.billing.tampers import TABLES, NothingToDo, Tampered, change_column, tamper
from tests.conftest import Tenant, make_tenant

TAMPERS = int(os.environ.get("TAMPERS", "80"))
SEED = int(os.environ.get("TAMPER_SEED", "20240912"))
PARTS = 2  # for as many cores
CALLS = 50  # of each organization
RISK = Decimal("0.01")
LONG = 10_000  # a run of so many also says which columns are found by now
# Before a column counts as one that is always found, which a long run alone asks.
TRIES = 1 if TAMPERS < LONG else 200

# Keys that say nothing about money: whatever they are, every row says what it said.
SURROGATE_KEYS = {f"{name}.id" for name in ("LedgerEntry", "UsageRecord", "Hold", "Budget", "SpendRollup")}
# What no check looks at yet, or only in some rows or where it moves a sum. What is always found should leave this list.
NOT_LOOKED_AT = {
    "UsageRecord": "snapshot input_usd_per_million cached_input_usd_per_million output_usd_per_million recorded_at "
    "cache_write_usd_per_million",
    "Reservation": "reference is_in_doubt input_tokens output_tokens settled_usd organization project team_id "
    "member_id api_key_id model service_tier price window_start reserved_at resolved_at likely_usd",
    "Hold": "reservation budget amount",
    "Budget": "quota project scope measure window_start window_end limit",
}
COLUMNS = SURROGATE_KEYS | {f"{table}.{name}" for table, names in NOT_LOOKED_AT.items() for name in names.split()}
ROWS = {
    "copy Budget",
    "copy Hold",
    "delete Budget",
    "delete Hold",
    # Whoever seals the book anew is found by what else says the same; these two are said by nothing else.
    "change LedgerEntry.project and seal the book anew",
    "change LedgerEntry.window_start and seal the book anew",
}


def is_listed(kind: str) -> bool:
    return kind in ROWS or kind.removeprefix("change ").removeprefix("swap ") in COLUMNS


def spend_a_while(tenant: Tenant, dice: random.Random, monkeypatch) -> None:
    """Some weeks of calls over a change of the month: settled, empty, released, in doubt, open, and corrections."""
    book = Book(tenant.project)
    team = Team.objects.create(organization=tenant.organization, name="Numbers")
    tenant.project.team = team
    tenant.project.save()
    book.quota("400")
    book.quota("200", measure="reserve_usd", scope="organization", project=None, risk=RISK)
    book.quota("900", measure="jobs", window="week", scope="organization", project=None)
    book.quota("9000000", measure="reasoning_tokens", window="day", scope="team", project=None, team=team)
    book.quota("9000000", measure="tokens", scope="key", project=None, api_key=tenant.api_key.api_key, is_hard=False)
    owners = [{}, {"team_id": team.pk}, {"member_id": tenant.owner.pk, "api_key_id": tenant.api_key.api_key.pk}]
    now, waiting = datetime(2024, 8, 27, 9, tzinfo=UTC), []
    monkeypatch.setattr(ledger.storage, "now", lambda: now)
    for _ in range(CALLS):
        now += timedelta(seconds=dice.randint(1, 30_000))
        owner = dice.choice(owners)
        claim = book.claim(str(dice.randint(1, 400) / Decimal(100)), model=dice.choice(MODELS), **owner)
        if claim.owner.model == MODELS[1]:
            claim = replace(claim, likely=ledger.Likely(claim.amount_usd / 10, RISK))
        assert book.reserve(claim) == []
        waiting.append(claim.reference)
        now += timedelta(seconds=dice.randint(1, 900))
        reference = waiting.pop(dice.randrange(len(waiting)))
        output = dice.randint(64, 9000)
        match dice.randrange(10):
            case 0:
                book.release(reference)
            case 1:
                book.doubt(reference)
            case 2:
                waiting.append(reference)
            case 3:
                book.settle(reference, output=output, reasoning=output, empty=True)
            case _:
                book.settle(reference, output=output, reasoning=dice.randint(0, output))
        if dice.random() < 0.05:
            with transaction.atomic():
                amount = Decimal(dice.randint(-90, 90) or 1).scaleb(-2)
                ledger.adjust(tenant.project, amount, reason="late truth", actor=tenant.owner)
    assert closing.close_until(tenant.organization, now)
    for reference in waiting[:2]:  # calls of the month that is closed by now, perhaps
        book.settle(reference, output=100)


MODELS = ("o1-preview", "o1-mini")


@pytest.fixture
def organizations(db, monkeypatch) -> list[Organization]:
    """The books of both, with every right given and every constraint but the keys gone."""
    dice = random.Random(1)
    tenants = [make_tenant(name, days_ago=1500) for name in ("Alice", "Bob")]
    for tenant in tenants:
        spend_a_while(tenant, dice, monkeypatch)
    monkeypatch.undo()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        tables = [model._meta.db_table for model in TABLES]
        cursor.execute(
            "SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname) FROM pg_constraint "
            "WHERE conrelid::regclass::text = ANY(%s) AND contype IN ('c', 'u') UNION ALL "
            "SELECT format('DROP INDEX %%s', indexrelid::regclass) FROM pg_index WHERE indrelid::regclass::text = "
            "ANY(%s) AND indisunique AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)",
            [tables, tables],
        )
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)
        # Last: it changes the catalog without a lock on the table, and an ANALYZE that waits for that change has one.
        cursor.execute(f"GRANT UPDATE, DELETE, TRUNCATE ON {BOOKS} TO CURRENT_USER")
    return [tenant.organization for tenant in tenants]


class _Undo(Exception):
    """Ends the savepoint of a tamper, and takes everything back."""


def checks_that_differ(organization: Organization) -> set[str]:
    """By name; rows that no constraint would let in can break the proof itself, which says no less."""
    try:
        with transaction.atomic():
            return {difference.check for difference in verify(organization)}
    except Exception as error:
        return {f"broken off by {type(error).__name__}"}


def tampered_once(dice: random.Random, organizations: list[Organization], do=None) -> tuple[Tampered, set[str]]:
    """One tamper and the checks that found it, in either book; nothing of it stays."""
    while True:
        done, found = None, set()
        try:
            with transaction.atomic():
                done = tamper(dice, do)
                for organization in organizations:
                    # The first book that differs says enough; the other one would only take its time.
                    found = found or checks_that_differ(organization)
                raise _Undo
        except _Undo:
            assert done is not None
            return done, found
        except (NothingToDo, DataError, IntegrityError):
            # What a column cannot hold, and a key that is taken, are no tampers.
            continue


def test_the_books_agree_and_are_of_some_size(organizations):
    assert [verify(organization) for organization in organizations] == [[], []]
    assert LedgerEntry.objects.count() > 180
    assert UsageRecord.objects.count() > 60


# One thing for each check that no other one sees: whoever takes a check away loses something.
ALONE = {
    "chain": "UPDATE billing_ledgerentry SET reason = 'another' WHERE sequence = 7",
    "closed months": "UPDATE billing_closedmonth SET lines = lines + 1",
    "reservations": "UPDATE billing_reservation SET amount_usd = amount_usd + 1 WHERE status = 'released'",
    "usage records": "UPDATE billing_usagerecord SET output_usd_per_million = output_usd_per_million + 1",
    "rollups": "UPDATE billing_spendrollup SET cached_input_tokens = cached_input_tokens + 1",
    "budgets": "UPDATE billing_budget SET held = held + 1",
}


def test_each_check_finds_what_no_other_does(organizations):
    def do(statement: str) -> Tampered:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        return Tampered(statement, "")

    found = {
        check: tampered_once(random.Random(0), organizations, lambda dice: do(statement))[1]  # noqa: B023
        for check, statement in ALONE.items()
    }
    assert found == {check: {check} for check in CHECKS}


@pytest.mark.timeout(1200)
def test_a_change_of_every_column_is_found(organizations):
    """Of each that the models have, a new one too; and in a long run, what is listed as unfound is so still."""
    dice = random.Random(SEED)
    missed, stale = [], []
    for model in TABLES:
        for field in model._meta.concrete_fields:
            for _ in range(TRIES):
                done, found = tampered_once(dice, organizations, lambda dice: change_column(dice, model, field))  # noqa: B023
                if not found or not is_listed(done.kind):
                    break
            if not found and not is_listed(done.kind):
                missed.append(f"{done.kind}: {done.detail}")
            if found and is_listed(done.kind):
                stale.append(done.kind)
    assert not missed, "\n".join(["neither found nor listed:", *missed])
    assert not stale or TAMPERS < LONG, f"found {TRIES} times of {TRIES}, so no longer to be listed: {stale}"


@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_random_tamper_is_found(organizations, part):
    dice = random.Random(f"{SEED} {part}")
    tried, unfound, by = Counter(), defaultdict(list), Counter()
    for _ in range(TAMPERS // PARTS):
        done, found = tampered_once(dice, organizations)
        tried[done.kind] += 1
        by.update(found)
        if not found and not is_listed(done.kind):
            unfound[done.kind].append(done.detail)
    said = [f"{kind}: {len(unfound[kind])} of {tried[kind]}, {unfound[kind][:2]}" for kind in sorted(unfound)]
    assert not said, "\n".join([f"unfound, with TAMPER_SEED={SEED}:", *said])
    assert set(CHECKS) <= set(by)
