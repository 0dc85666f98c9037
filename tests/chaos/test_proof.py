"""The proof itself: each broken promise is found, and a run without one is not blamed."""

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.chaos.knobs import Knobs
from tests.chaos.proof import Books, Call, prove_calls
from tests.chaos.schedule import Action, plan

SETTLED = Call("a1", "j1", "answered", "settled", Decimal("0.05"), Decimal("0.01"))
DOUBT = Call("a2", "j2", "in_doubt", "open", Decimal("0.05"), None)
GIVEN_BACK = Call("a3", "j3", "abandoned", "released", Decimal("0.05"), None)
BILL = [("a1", "0.01"), ("a2", "0.02")]


def proven(calls, bill) -> Books:
    books = Books()
    lines = [{"client_request_id": attempt, "cost_usd": cost} for attempt, cost in bill]
    prove_calls(books, lines, {call.attempt: call for call in calls})
    return books


def test_settled_calls_doubts_that_are_held_and_calls_given_back_unbilled_break_no_promise():
    books = proven([SETTLED, DOUBT, GIVEN_BACK], BILL)
    assert books.findings == []
    assert (books.doubts, books.billed_in_doubt, books.billed_in_doubt_usd) == (1, 1, Decimal("0.02"))


@pytest.mark.parametrize(
    ("calls", "bill", "found"),
    [
        ([SETTLED, DOUBT], [*BILL, ("a1", "0.01")], "calls were billed twice"),
        ([SETTLED, DOUBT], [*BILL, ("a9", "0.01")], "billed calls are of no attempt"),
        ([SETTLED, replace(DOUBT, job="j1")], BILL, "jobs were billed twice"),
        ([SETTLED, DOUBT, replace(SETTLED, attempt="a4")], [*BILL, ("a4", "0.01")], "jobs were charged twice"),
        ([SETTLED, DOUBT], BILL[1:], "calls were charged and not billed"),
        ([replace(SETTLED, booked_usd=Decimal("0.02")), DOUBT], BILL, "calls were charged otherwise than billed"),
        ([SETTLED, replace(DOUBT, reservation="released")], BILL, "holds were released though billed"),
        ([SETTLED, DOUBT, GIVEN_BACK], [*BILL, ("a3", "0.01")], "holds were released though billed"),
        ([SETTLED, replace(DOUBT, held_usd=Decimal("0.01"))], BILL, "holds are below the bill"),
        ([SETTLED, DOUBT, replace(GIVEN_BACK, reservation="open")], BILL, "open holds are of no doubt"),
    ],
)
def test_each_broken_promise_is_found(calls, bill, found):
    assert any(found in finding for finding in proven(calls, bill).findings)


def test_a_seed_gives_the_same_schedule_again_and_another_seed_another():
    knobs = Knobs(seed=9, minutes=1, jobs=1, kills=20, stops=5, flushes=3, valkey_kills=2, postgres_kills=1, faults=0)
    events = plan(knobs)
    assert events == plan(knobs) != plan(replace(knobs, seed=10))
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert len([event for event in events if event.action is Action.KILL]) == 20
    assert all(0 < event.at < knobs.seconds for event in events)
