"""When calls fail so often that they stop, and how many retries may be added to them: on a clock of the test's."""

import pytest

from jobs.evidence import LEAST_FAILURES, LONGEST_SECONDS, WINDOW_SECONDS, Evidence


def seen(*outcomes: tuple[float, bool]) -> Evidence:
    evidence = Evidence()
    for now, failed in outcomes:
        evidence.add(now, failed=failed)
    return evidence


@pytest.mark.parametrize(
    ("worked", "failed", "is_failing"),
    [
        (0, 4, False),  # too few to tell
        (0, 5, True),
        (5, 5, True),
        (6, 5, False),
        (100, 99, False),
        (100, 100, True),
        (1000, 0, False),
    ],
)
def test_calls_stop_when_half_of_them_fail(worked, failed, is_failing):
    evidence = seen(*[(1.0, False)] * worked, *[(2.0, True)] * failed)
    assert evidence.is_failing(2.0) is is_failing


def test_an_outage_is_noticed_although_all_went_well_for_an_hour():
    evidence = seen(*[(second, False) for second in range(3600)])
    for number in range(1, int(WINDOW_SECONDS)):
        evidence.add(3600.0 + number, failed=True)
        if evidence.is_failing(3600.0 + number):
            break
    assert number <= WINDOW_SECONDS / 2 + 1


def test_calls_that_are_minutes_apart_are_judged_by_the_last_ten():
    evidence = seen(*[(60.0 * number, False) for number in range(5)])
    for number in range(5, 11):
        evidence.add(60.0 * number, failed=True)
    assert evidence.is_failing(600.0)
    assert not evidence.is_failing(600.0 + LONGEST_SECONDS + 1)


def test_what_comes_after_a_stop_is_judged_by_itself():
    evidence = seen(*[(1.0, True)] * 50)
    evidence.clear()
    assert not evidence.is_failing(1.0)
    for _ in range(LEAST_FAILURES):
        evidence.add(2.0, failed=True)
    assert evidence.is_failing(2.0)


def test_ten_retries_go_at_once_and_then_one_in_ten_seconds():
    evidence = Evidence()
    assert [evidence.retry_in(100.0) for _ in range(13)] == [0.0] * 10 + [10.0, 20.0, 30.0]
    assert evidence.retry_in(100.0 + 1000.0) == 0.0


def test_retries_are_a_tenth_of_the_calls():
    calls_a_second = 50
    evidence = seen(*[(second, False) for second in range(20) for _ in range(calls_a_second)])
    waits = [evidence.retry_in(19.0) for _ in range(10 + 100)]
    assert waits[-1] == pytest.approx(100 / (calls_a_second * 0.1), rel=0.01)


def test_evidence_that_decides_nothing_any_more_can_be_forgotten():
    assert Evidence().is_idle(0.0)
    evidence = seen((1.0, True))
    assert not evidence.is_idle(2.0)
    assert evidence.is_idle(2.0 + LONGEST_SECONDS)
    evidence.retry_in(2000.0)
    assert not evidence.is_idle(2001.0)
    assert evidence.is_idle(2011.0)
