"""The ledger under real concurrency: threads with connections of their own against PostgreSQL."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from random import Random
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.db.models import F

from accounts.api_keys import issue
from accounts.models import Project, Team
from billing import ledger
from billing.budgets import states_of
from billing.clock import database_now
from billing.errors import AlreadyReleased
from billing.ledger import Claim, Usage
from billing.limits import Owner
from billing.models import Budget, LedgerEntry, UsageRecord
from billing.prices import price_on
from billing.pricing import Tokens
from billing.verification import verify
from tests.conftest import SEPTEMBER_2024

D = Decimal
pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def all_at_once(work: Callable[[Any], Any], inputs: list[Any], threads: int = 16) -> list[Any]:
    def run(item: Any) -> Any:
        try:
            return work(item)
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, inputs))


def test_of_a_thousand_concurrent_holds_exactly_those_that_fit_are_granted(book):
    quota = book.quota("5")
    claims = [book.claim("0.10") for _ in range(1000)]
    refusals = all_at_once(book.reserve, claims, threads=32)
    assert sum(1 for refused in refusals if not refused) == 50
    assert book.used(quota) == (D(5), D(0))
    book.assert_sums_agree()


def test_concurrent_settlements_of_one_hold_book_it_once(book):
    reference = book.hold("2.5")
    all_at_once(lambda _: book.settle(reference, output=1000), list(range(16)))
    assert UsageRecord.objects.count() == 1
    assert LedgerEntry.objects.filter(kind="settle").count() == 1
    assert book.budgets() == [(D(0), D("0.06"))] * 2


def test_settle_and_release_of_one_hold_race_and_one_wins(book):
    references = [book.hold("0.1") for _ in range(20)]

    def settle_or_release(turn):
        reference, is_settle = turn
        with suppress(AlreadyReleased):  # the release was first, and the cost is not booked in silence
            return book.settle(reference, output=10) if is_settle else book.release(reference)

    all_at_once(settle_or_release, [(ref, kind) for ref in references for kind in (True, False)])
    assert Budget.objects.get(scope="organization").held == 0
    assert LedgerEntry.objects.filter(kind__in=["settle", "release"]).count() == 20
    book.assert_sums_agree()


def test_batches_over_crossing_projects_do_not_deadlock(book, bob):
    organization = book.project.organization
    projects = [
        book.project,
        bob.project,
        *(organization.projects.create(name=f"p{i}", slug=f"p{i}") for i in range(4)),
    ]

    def batch(seed: int) -> int:
        order = projects[seed % 6 :] + projects[: seed % 6]
        return len(book.reserve(*(book.claim("0.01", project=p) for p in (order if seed % 2 else order[::-1]))))

    assert sum(all_at_once(batch, list(range(60)))) == 0
    assert Budget.objects.get(scope="organization", organization=organization).held == D("0.01") * 5 * 60


ROUNDS = 12


def test_batches_of_crossing_organizations_settle_and_release_without_a_deadlock(book, bob):
    """Each answer comes twice, in batches that name the organizations in opposite order."""
    crossing = [(book.project, bob.project), (bob.project, book.project)]
    batches = [
        [book.hold("2.5", project=project) for _ in range(4) for project in crossing[number % 2]]
        for number in range(2 * ROUNDS)
    ]

    def settle_or_release(number: int) -> None:
        own, other = batches[number % len(batches)], batches[(number + 1) % len(batches)]
        with transaction.atomic():
            if number % 4 < 2:
                ledger.settle_all([Usage(ref, Tokens(0, 0, 1000, 0), "o1-preview") for ref in (*own[:4], *other[:4])])
            else:
                ledger.release_all(dict.fromkeys((*own[4:], *other[4:]), "for the test"))

    all_at_once(settle_or_release, [*range(len(batches)), *reversed(range(len(batches)))])
    settled = UsageRecord.objects.count()
    assert settled == LedgerEntry.objects.filter(kind="settle").count()
    for organization in (book.project.organization, bob.organization):
        assert verify(organization) == []


# --- Nested limits ----------------------------------------------------------------------------------------------------
HOLDS = int(os.environ.get("RACE_HOLDS", "640"))
CLIENTS = 64
AMOUNT = D("0.07")


@pytest.fixture
def many_connections() -> Iterator[None]:
    """A connection for each client, which a worker's pool does not have."""
    pool = connection.settings_dict["OPTIONS"]["pool"]
    kept = dict(pool)
    connection.close_pool()
    pool.update(max_size=CLIENTS + 4, timeout=120)
    yield
    connection.close_pool()
    pool.update(kept)


@pytest.fixture
def owners(book, owner) -> list[Owner]:
    """Eight keys of four projects of two teams, each level with a limit of its own; none is a multiple of a hold."""
    organization, found = book.project.organization, []
    book.quota("5", scope="organization", project=None)
    for name in ("readers", "writers"):
        team = Team.objects.create(organization=organization, name=name)
        book.quota("2.9", scope="team", project=None, team=team)
        for number in range(2):
            slug = f"{name}-{number}"
            project = Project.objects.create(organization=organization, name=slug, slug=slug, team=team)
            book.quota("1.6", project=project)
            for key in range(2):
                row = issue(project, name=f"{slug}-{key}", created_by=owner).api_key
                book.quota("1", scope="key", project=None, api_key=row)
                found.append(Owner(project, team.pk, None, row.pk, "o1-preview"))
    return found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("batch", [1, 25])
def test_nested_limits_are_never_crossed_and_leave_less_than_a_hold(book, owners, many_connections, batch):
    """Many clients hold, settle and release at once; then each key takes what it can get."""
    price = price_on(["o1-preview"], "standard", SEPTEMBER_2024)
    over, done = [], Event()

    def claims(number: int, owner: Owner | None = None) -> list[Claim]:
        return [
            Claim(uuid4(), AMOUNT, 0, 1000, owner or owners[n % len(owners)], "standard", price) for n in range(number)
        ]

    def watch() -> None:
        while not done.wait(0.02):
            over.extend(Budget.objects.filter(limit__lt=F("spent") + F("held")))
        connection.close()

    def client(seed: int) -> int:
        dice, granted = Random(seed), 0
        for _ in range(-(-HOLDS // CLIENTS // batch)):
            wanted = claims(batch, owners[dice.randrange(len(owners))] if dice.random() < 0.5 else None)
            refused = {refusal.claim.reference for refusal in book.reserve(*wanted)}
            for claim in wanted:
                if claim.reference not in refused:
                    granted += 1
                    if dice.random() < 0.98:
                        book.release(claim.reference)
                    else:
                        book.settle(claim.reference, output=1000)  # 0.06 of the 0.07
        return granted

    watching = Thread(target=watch)
    watching.start()
    try:
        assert sum(all_at_once(client, list(range(CLIENTS)), threads=CLIENTS)) > 0
        for owner in owners:
            book.reserve(*claims(20, owner))
    finally:
        done.set()
        watching.join()
    assert over == []
    remaining = [min(state.remaining for state in states_of(owner, database_now())) for owner in owners]
    assert all(D(0) <= left < AMOUNT for left in remaining), remaining
    assert verify(book.project.organization) == []


def test_money_moves_only_inside_the_callers_transaction(book):
    with pytest.raises(transaction.TransactionManagementError):
        ledger.reserve([book.claim("1")])
