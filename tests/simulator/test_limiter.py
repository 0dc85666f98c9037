"""The limiter's arithmetic on texts that the provider really sent, and what a client sees of it."""

import openai
import pytest

from config.simulator.limiter import Admission, Limiter, go_duration, tokens_at_admission
from config.simulator.models import Limits
from config.simulator.running import RunningSimulator
from tests.simulator.clients import ask, connect

SECOND = 10**9
PLENTY = 10**9


class Clock:
    """Nanoseconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 12_345

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)


def admit(
    limiter: Limiter, limits: Limits, tokens: int, model: str = "gpt-4o-mini", organization: str = "org-XXX"
) -> Admission:
    return limiter.admit(model=model, family=model, organization=organization, limits=limits, tokens=tokens)


@pytest.mark.parametrize(
    ("limit", "used", "requested", "wait", "retry_after"),
    [
        # Public samples of 2023 to 2025, issues and forum threads.
        (50_000, 47_949, 3_006, "1.146s", "2"),
        (200_000, 195_869, 4_412, "84ms", "1"),
        (30_000, 22_999, 12_528, "11.054s", "12"),
        (30_000, 14_567, 24_754, "18.642s", "19"),
    ],
)
def test_token_refusals_read_as_they_were_published(
    limit: int, used: int, requested: int, wait: str, retry_after: str
) -> None:
    limiter, limits = Limiter(clock=Clock()), Limits(PLENTY, limit)
    assert admit(limiter, limits, used).refusal is None

    refusal = admit(limiter, limits, requested).refusal

    assert refusal is not None
    assert (refusal.status, refusal.type, refusal.param, refusal.code) == (429, "tokens", None, "rate_limit_exceeded")
    assert refusal.message == (
        f"Rate limit reached for gpt-4o-mini in organization org-XXX on tokens per min (TPM): Limit {limit}, "
        f"Used {used}, Requested {requested}. Please try again in {wait}. "
        "Visit https://platform.openai.com/account/rate-limits to learn more."
    )
    assert refusal.headers["retry-after"] == retry_after


def test_request_refusals_read_as_they_were_published() -> None:
    limiter, limits = Limiter(clock=Clock()), Limits(3, PLENTY)
    for _ in range(3):
        assert admit(limiter, limits, 1).refusal is None

    refusal = admit(limiter, limits, 1).refusal

    assert refusal is not None
    assert refusal.type == "requests"
    assert refusal.message == (
        "Rate limit reached for gpt-4o-mini in organization org-XXX on requests per min (RPM): Limit 3, Used 3, "
        "Requested 1. Please try again in 20s. Visit https://platform.openai.com/account/rate-limits to learn more."
    )
    assert refusal.headers["retry-after"] == "20"


def test_a_days_refusal_reads_as_it_was_published_and_headers_speak_of_the_day() -> None:
    clock = Clock()
    limiter, limits = Limiter(clock=clock, requests_per_day={"gpt-4o-mini": 10_000}), Limits(PLENTY, PLENTY)
    headers = admit(limiter, limits, 1).standing.headers()
    assert headers["x-ratelimit-limit-requests"] == "10000"
    assert headers["x-ratelimit-remaining-requests"] == "9999"
    assert headers["x-ratelimit-reset-requests"] == "8.64s"
    for _ in range(9_999):
        assert admit(limiter, limits, 1).refusal is None

    refusal = admit(limiter, limits, 1).refusal

    assert refusal is not None
    assert refusal.type == "requests"
    assert "on requests per day (RPD): Limit 10000, Used 10000, Requested 1. Please try again in 8.64s." in str(
        refusal.message
    )
    assert refusal.headers["retry-after"] == "9"
    assert admit(limiter, limits, 1, organization="org-other").refusal is None
    assert admit(limiter, limits, 1, model="gpt-4o").refusal is None  # no limit of a day
    clock.sleep(8.65)
    assert admit(limiter, limits, 1).refusal is None
    limiter.reset()
    assert admit(limiter, limits, 1).standing.headers()["x-ratelimit-remaining-requests"] == "9999"


def test_a_failed_request_counts_against_the_day() -> None:
    limiter, limits = Limiter(clock=Clock(), requests_per_day={"gpt-4o-mini": 1}), Limits(PLENTY, PLENTY)
    limiter.count_failure(family="gpt-4o-mini", organization="org-XXX", limits=limits)
    assert admit(limiter, limits, 1).refusal is not None


def test_a_request_above_the_limit_is_too_large_and_never_told_to_wait() -> None:
    refusal = admit(Limiter(clock=Clock()), Limits(500, 30_000), 34_307, "gpt-4o").refusal

    assert refusal is not None
    assert refusal.message == (
        "Request too large for gpt-4o in organization org-XXX on tokens per min (TPM): Limit 30000, Requested 34307. "
        "The input or output tokens must be reduced in order to run successfully. "
        "Visit https://platform.openai.com/account/rate-limits to learn more."
    )
    assert "retry-after" not in refusal.headers


def test_a_bucket_starts_full_and_refills_without_steps() -> None:
    clock = Clock()
    limiter, limits = Limiter(clock=clock), Limits(PLENTY, 60_000)
    assert admit(limiter, limits, 60_000).refusal is None  # a burst of the whole minute
    clock.sleep(0.9995)
    assert admit(limiter, limits, 1_000).refusal is not None
    clock.sleep(0.0005)
    assert admit(limiter, limits, 1_000).refusal is None
    assert admit(limiter, limits, 1).refusal is not None


def test_waiting_as_long_as_told_is_enough() -> None:
    clock = Clock()
    limiter, limits = Limiter(clock=clock), Limits(3, PLENTY)
    for _ in range(3):
        admit(limiter, limits, 1)
    assert admit(limiter, limits, 1).refusal is not None
    clock.sleep(20)
    assert admit(limiter, limits, 1).refusal is None


def test_hammering_keeps_a_client_out_because_refused_requests_count() -> None:
    clock = Clock()
    limiter, limits = Limiter(clock=clock), Limits(3, PLENTY)
    for _ in range(3):
        admit(limiter, limits, 1)
    for _ in range(10):
        clock.sleep(15)
        assert admit(limiter, limits, 1).refusal is not None


def test_headers_tell_the_rest_and_the_time_to_full() -> None:
    limiter, limits = Limiter(clock=Clock()), Limits(30_000, 150_000_000)

    headers = admit(limiter, limits, 367).standing.headers()

    assert headers == {
        "x-ratelimit-limit-requests": "30000",
        "x-ratelimit-limit-tokens": "150000000",
        "x-ratelimit-remaining-requests": "29999",
        "x-ratelimit-remaining-tokens": "149999633",
        "x-ratelimit-reset-requests": "2ms",
        "x-ratelimit-reset-tokens": "0s",
    }


def test_organizations_and_models_have_buckets_of_their_own() -> None:
    limiter, limits = Limiter(clock=Clock()), Limits(1, PLENTY)
    assert admit(limiter, limits, 1).refusal is None
    assert admit(limiter, limits, 1, organization="org-other").refusal is None
    assert admit(limiter, limits, 1, model="o1").refusal is None
    assert admit(limiter, limits, 1).refusal is not None


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (2, "2ms"),
        (120, "120ms"),
        (1_000, "1s"),
        (1_146, "1.146s"),
        (8_640, "8.64s"),
        (86_400, "1m26.4s"),
        (360_000, "6m0s"),
        (252_172, "4m12.172s"),
        (3_600_000, "1h0m0s"),
        (83_909_144, "23h18m29.144s"),
    ],
)
def test_durations_are_written_as_go_writes_them(milliseconds: int, text: str) -> None:
    assert go_duration(milliseconds) == text


def test_admission_counts_the_cap_or_the_characters_whichever_is_more() -> None:
    assert tokens_at_admission(400, None) == 100
    assert tokens_at_admission(401, None) == 101
    assert tokens_at_admission(400, 5_000) == 5_000
    assert tokens_at_admission(40_000, 5_000) == 10_000


# --- Through the client -----------------------------------------------------------------------------------------------
def test_a_client_sees_429_with_headers_and_only_then() -> None:
    with RunningSimulator(requests_per_minute={"o1-preview": 2}) as simulator, connect(simulator) as client:
        ask(client, "o1-preview")
        ask(client, "o1-preview")
        with pytest.raises(openai.RateLimitError) as refusal:
            ask(client, "o1-preview")

        headers = refusal.value.response.headers
        assert (refusal.value.type, refusal.value.code) == ("requests", "rate_limit_exceeded")
        assert headers["retry-after"] in ("29", "30")
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert headers["x-ratelimit-limit-tokens"] == "30000000"
        ask(client, "o1-mini")  # another model, another limit
        assert simulator.counters()["rate_limited"] == 1
        assert simulator.counters()["rejected"] == {"429 rate_limit_exceeded": 1}
        simulator.reset()
        ask(client, "o1-preview")


def test_a_cap_counts_in_full_against_tokens_per_minute() -> None:
    with RunningSimulator(tokens_per_minute={"o1-mini": 10_000}) as simulator, connect(simulator) as client:
        ask(client, max_completion_tokens=6_000)
        with pytest.raises(openai.RateLimitError, match=r"Used (6000|59\d\d), Requested 6000"):
            ask(client, max_completion_tokens=6_000)
        with pytest.raises(openai.RateLimitError, match="Request too large"):
            ask(client, max_completion_tokens=10_001)


def test_a_snapshot_shares_the_limit_of_its_alias() -> None:
    with RunningSimulator(requests_per_minute={"gpt-4o": 1}) as simulator, connect(simulator) as client:
        ask(client, "gpt-4o")
        with pytest.raises(openai.RateLimitError):
            ask(client, "gpt-4o-2024-08-06")


def test_an_invalid_request_counts_as_a_request() -> None:
    with RunningSimulator(requests_per_minute={"o1-mini": 1}) as simulator, connect(simulator) as client:
        with pytest.raises(openai.BadRequestError):
            ask(client, temperature=0.5)
        with pytest.raises(openai.RateLimitError):
            ask(client)


def test_limits_can_be_switched_off() -> None:
    options = {"enforce_limits": False, "requests_per_minute": {"o1-mini": 1}}
    with RunningSimulator(**options) as simulator, connect(simulator) as client:
        for _ in range(3):
            ask(client)
