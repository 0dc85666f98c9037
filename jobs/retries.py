"""What to do after a call that brought no answer. Pure: the outcome goes in, a decision comes out."""

from dataclasses import dataclass

BACKOFF_BASE_SECONDS = 1.0
BACKOFF_CAP_SECONDS = 60.0
# What the provider asks for is honoured up to this; beyond it the job would be better served by its owner.
RETRY_AFTER_CAP_SECONDS = 900.0

# A 429 with one of these needs a person (OpenAI error codes, 2026): retrying never helps.
QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
    }
)
# Of the 5xx, only what the provider itself answers before or instead of working. A gateway's timeout (502, 504, 520 to
# 524) says nothing of the call behind it, which may have run and been billed.
UNBILLED_SERVER_ERRORS = frozenset({500, 503, 529})


@dataclass(frozen=True, slots=True)
class Rejection:
    """The provider's refusal.

    `retry_after` in seconds; `is_final` when the provider says itself that a retry is useless.
    """

    status: int
    code: str
    type: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Put the job back and try again after so many seconds."""

    after_seconds: float


@dataclass(frozen=True, slots=True)
class Fail:
    """The job has failed for good."""


Decision = Retry | Fail


def after_rejection(rejection: Rejection, *, attempts: int, max_attempts: int, jitter: float) -> Decision:
    """What follows a refusal after so many attempts; `jitter`, 0 to 1, spreads the retries of many jobs."""
    if not is_retryable(rejection) or attempts >= max_attempts:
        return Fail()
    return Retry(_pause(attempts, jitter, at_least=rejection.retry_after))


def after_unreachable(*, attempts: int, max_attempts: int, jitter: float) -> Decision:
    """What follows a connection that was never made: nothing was sent, so nothing can have been billed."""
    return Fail() if attempts >= max_attempts else Retry(_pause(attempts, jitter))


def is_retryable(rejection: Rejection) -> bool:
    """Whether the same call may succeed later."""
    if rejection.is_final or rejection.code in QUOTA_CODES or rejection.type == "insufficient_quota":
        return False
    if rejection.status == 429:
        # "Request too large" has the code of an ordinary 429 and never succeeds (recorded bodies, 2024).
        return not rejection.message.startswith("Request too large")
    return rejection.status in UNBILLED_SERVER_ERRORS or rejection.status in {408, 409}


def is_outcome_known(status: int) -> bool:
    """Whether an error of this status means that the call was not billed."""
    return status < 500 or status in UNBILLED_SERVER_ERRORS


def _pause(attempts: int, jitter: float, at_least: float | None = None) -> float:
    backoff = min(BACKOFF_BASE_SECONDS * 2.0 ** (attempts - 1), BACKOFF_CAP_SECONDS)
    spread = backoff * (0.5 + jitter / 2)
    return max(spread, min(at_least or 0.0, RETRY_AFTER_CAP_SECONDS) * (1 + jitter / 10))
