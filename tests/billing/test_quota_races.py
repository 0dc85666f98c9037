"""Limits changed and requests decided while others do the same, or hold: on connections of their own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier, Event
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.audit import SERVICE
from accounts.models import AuditEntry, Membership, Role, User
from billing import ledger
from billing.errors import RequestDecided
from billing.models import Budget, Quota, QuotaRequest
from billing.quotas import asking, changes

D = Decimal
pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def in_thread(pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Any:
    def run() -> Any:
        try:
            return work()
        finally:
            connection.close()

    return pool.submit(run)


def make(book, limit: str = "5") -> Quota:
    quota = Quota(organization=book.project.organization, project=book.project, limit=D(limit))
    return changes.create(quota, by=SERVICE)


def test_a_hold_waits_for_a_limit_that_is_being_lowered(book):
    """Without the lock it would be granted by the old limit, and be above the new one."""
    quota = make(book)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            changes.change(quota, {"limit": D(1)}, by=SERVICE)
            held = in_thread(pool, lambda: book.reserve(book.claim("2")))
            with pytest.raises(TimeoutError):
                held.result(0.4)
        assert len(held.result(30)) == 1
    assert book.used(quota) == (D(0), D(0))


def test_a_quota_that_is_made_while_a_hold_is_counts_it(book):
    """Without the lock it would open its budget without the hold, and let as much again through."""
    book.hold("0.01")  # the book is there, so that it can be locked
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert ledger.reserve([book.claim("4")]) == []
            made = in_thread(pool, lambda: make(book))
            with pytest.raises(TimeoutError):
                made.result(0.4)
        quota = made.result(30)
    assert book.used(quota) == (D("4.01"), D(0))
    assert len(book.reserve(book.claim("1"))) == 1


def test_no_digit_is_held_above_a_limit_that_goes_up_and_down_under_load(book):
    """Each hold is granted by a limit that was in force; what was lowered below it lets nothing in."""
    quota = make(book, "0.5")
    stop = Event()

    def hold(_: int) -> int:
        granted = 0
        try:
            for _ in range(15):
                with transaction.atomic():
                    if not ledger.reserve([book.claim("0.07")]):
                        granted += 1
                        row = Budget.objects.get(quota=quota)
                        assert row.held <= row.limit
                        assert row.limit == Quota.objects.get(pk=quota.pk).limit
            return granted
        finally:
            connection.close()

    def move() -> None:
        limit = D(0)
        while not stop.is_set():
            limit = (limit + D("0.31")) % D("2.5")
            changes.change(quota, {"limit": limit}, by=SERVICE)

    with ThreadPoolExecutor(5) as pool:
        moving = in_thread(pool, move)
        granted = sum(pool.map(hold, range(4)))
        stop.set()
        moving.result(30)
    assert 0 < granted < 60
    assert book.used(quota)[0] == granted * D("0.07")
    assert book.used(quota)[0] <= D("2.5")


def test_of_two_deciders_one_decides_and_the_limit_is_raised_once(book, owner):
    quota = make(book)
    users = [User.objects.create_user(f"{name}@alice.example") for name in ("mia", "ada")]
    for user, role in zip(users, (Role.MEMBER, Role.ADMIN), strict=True):
        Membership.objects.create(organization=book.project.organization, user=user, role=role)
    member, admin = users
    for _ in range(5):
        request = asking.ask(quota, D(3), reason="a test", asked_by=member, by=SERVICE)
        barrier = Barrier(2)

        def decide(decider: User, request: QuotaRequest = request, barrier: Barrier = barrier) -> bool:
            mine = QuotaRequest.objects.select_related(*asking.WITH_QUOTA).get(pk=request.pk)
            barrier.wait(20)
            try:
                if decider == admin:
                    asking.refuse(mine, decider=decider, by=SERVICE, note="no")
                else:
                    asking.approve(mine, decider=decider, by=SERVICE)
            except RequestDecided:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            done = [in_thread(pool, lambda who=who, decide=decide: decide(who)) for who in (owner, admin)]
            assert sorted(each.result(30) for each in done) == [False, True]
    approved = QuotaRequest.objects.filter(status="approved").count()
    assert Budget.objects.get(quota=quota).limit == 5 + 3 * approved
    assert AuditEntry.objects.filter(action="decided").count() == 5
