import pytest

from jobs.retries import (
    Fail,
    Rejection,
    Retry,
    Stop,
    after_rejection,
    after_unreachable,
    is_outcome_known,
    is_retryable,
    stop_of,
)


def rejection(status: int, code: str = "", type_: str = "", message: str = "", **more) -> Rejection:
    return Rejection(status=status, code=code, type=type_, message=message, **more)


@pytest.mark.parametrize(
    ("refusal", "may_succeed_later"),
    [
        (rejection(429, "rate_limit_exceeded", "requests"), True),
        (rejection(429, "rate_limit_exceeded", "tokens", "Request too large for gpt-4o"), False),  # it never fits
        (rejection(429, "insufficient_quota", "insufficient_quota"), True),  # once a person has paid
        (rejection(429, "project_spend_limit_exceeded", "insufficient_quota", is_final=True), True),
        (rejection(400, "billing_hard_limit_reached"), True),
        (rejection(429, "slow_down", "rate_limit_error"), True),
        (rejection(500, "server_error"), True),
        (rejection(503, "server_is_overloaded"), True),
        (rejection(503, is_final=True), False),  # x-should-retry: false
        (rejection(409), True),
        (rejection(400, "unsupported_value"), False),
        (rejection(401, "invalid_api_key"), True),  # once a person has mended the credential
        (rejection(403, "model_not_found"), True),
        (rejection(413), False),
        (rejection(422), False),
        (rejection(404, "model_not_found"), False),
    ],
)
def test_only_what_can_succeed_later_is_tried_again(refusal, may_succeed_later):
    assert is_retryable(refusal) is may_succeed_later
    decision = after_rejection(refusal, attempts=1, max_attempts=8, jitter=0.0)
    assert isinstance(decision, Retry if may_succeed_later else Fail)


def test_the_pause_doubles_up_to_a_minute_and_is_spread():
    pauses = [after_unreachable(attempts=n, max_attempts=99, jitter=1.0) for n in range(1, 9)]
    assert [pause.after_seconds for pause in pauses] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert after_unreachable(attempts=4, max_attempts=99, jitter=0.0) == Retry(4.0)


def test_retry_after_is_a_lower_bound():
    asked = rejection(429, "rate_limit_exceeded", retry_after=30.0)
    assert after_rejection(asked, attempts=1, max_attempts=8, jitter=0.0) == Retry(30.0)
    assert after_rejection(asked, attempts=8, max_attempts=9, jitter=1.0) == Retry(60.0)


def test_a_retry_after_of_days_is_not_believed():
    asked = rejection(429, "rate_limit_exceeded", retry_after=1e9)
    assert after_rejection(asked, attempts=1, max_attempts=8, jitter=0.0) == Retry(900.0)


def test_the_last_attempt_is_the_last():
    assert after_rejection(rejection(500), attempts=8, max_attempts=8, jitter=0.5) == Fail()
    assert after_unreachable(attempts=8, max_attempts=8, jitter=0.5) == Fail()


@pytest.mark.parametrize(
    ("status", "own_words", "known"),
    [
        (400, True, True),
        (404, False, True),
        (408, True, False),
        (429, True, True),
        (429, False, True),
        (500, True, True),
        (500, False, False),  # of whoever stands in between: the call behind it may have run
        (503, True, True),
        (503, False, False),
        (501, True, False),
        (502, True, False),
        (504, True, False),
        (524, True, False),
    ],
)
def test_a_gateways_error_says_nothing_of_the_call_behind_it(status, own_words, known):
    assert is_outcome_known(status, is_providers_own=own_words) is known


@pytest.mark.parametrize(
    ("refusal", "stop"),
    [
        (rejection(401, "invalid_api_key"), Stop(is_quota=False)),
        (rejection(401), Stop(is_quota=False)),
        (rejection(403, "model_not_found"), Stop(is_quota=False, is_of_project=True, is_of_family=True)),
        (rejection(403, "unsupported_country_region_territory"), Stop(False, is_of_project=True, is_of_family=True)),
        (rejection(429, "insufficient_quota", "insufficient_quota"), Stop(is_quota=True)),
        (rejection(429, "credit_balance_exhausted", "insufficient_quota"), Stop(is_quota=True)),
        (rejection(429, "organization_spend_limit_exceeded", "insufficient_quota"), Stop(is_quota=True)),
        (rejection(429, "organization_usage_limit_exceeded", "insufficient_quota"), Stop(is_quota=True)),
        (rejection(429, "project_spend_limit_exceeded", "insufficient_quota"), Stop(True, is_of_project=True)),
        (rejection(429, "something_of_2027", "insufficient_quota"), Stop(is_quota=True)),
        (rejection(400, "billing_hard_limit_reached"), Stop(is_quota=True)),
        (rejection(429, "rate_limit_exceeded", "requests"), None),
        (rejection(429, "slow_down", "rate_limit_error"), None),
        (rejection(400, "unsupported_value"), None),
        (rejection(404, "model_not_found"), None),
        (rejection(500), None),
    ],
)
def test_a_refusal_of_the_account_is_told_from_one_of_the_call(refusal, stop):
    assert stop_of(refusal) == stop
