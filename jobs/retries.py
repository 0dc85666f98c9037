"""What to do after a call that brought no answer. Pure: the outcome goes in, a decision comes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BACKOFF_BASE_SECONDS = 1.0
BACKOFF_CAP_SECONDS = 60.0
# What the provider asks for is honoured up to this; beyond it the job would be better served by its owner.
RETRY_AFTER_CAP_SECONDS = 900.0

# An error with one of these needs a person (OpenAI error codes, 2026): until then no call of the account succeeds.
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
# Of those, the one that is about the provider's project and leaves the other projects of its organization alone.
PROJECT_QUOTA_CODE = "project_spend_limit_exceeded"
# With a 429 or a 503: the provider wants less for a while, of everybody (OpenAI error codes, 2026).
SLOW_DOWN = "slow_down"
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


def rejection_of(status: int, error: Mapping[str, Any], **more: Any) -> Rejection:
    """The refusal in an error as the provider writes one, whatever of it is there. `more`: what its headers say."""
    return Rejection(
        status=status,
        code=str(error.get("code") or ""),
        type=str(error.get("type") or ""),
        message=str(error.get("message") or f"The provider answered {status} without a readable error."),
        param=str(error["param"]) if error.get("param") else None,
        **more,
    )


@dataclass(frozen=True, slots=True)
class Stop:
    """A refusal that is not about this call: until a person mends the account, others would be refused as well.

    Those of the same project alone, and of the same family of models alone, where it says so.
    """

    is_quota: bool
    is_of_project: bool = False
    is_of_family: bool = False


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
    if stop_of(rejection) is not None:
        return True
    if rejection.is_final:
        return False
    if rejection.status == 429:
        # "Request too large" has the code of an ordinary 429 and never succeeds (recorded bodies, 2024).
        return not rejection.message.startswith("Request too large")
    return rejection.status in UNBILLED_SERVER_ERRORS or rejection.status == 409


def stop_of(rejection: Rejection) -> Stop | None:
    """What a refusal says of calls that are not made yet; None where it is about this one alone.

    A 404 is about the model that was asked for, and final for its job.
    """
    if rejection.code in QUOTA_CODES or rejection.type == "insufficient_quota":
        return Stop(is_quota=True, is_of_project=rejection.code == PROJECT_QUOTA_CODE)
    if rejection.status == 401:
        return Stop(is_quota=False)
    if rejection.status == 403:
        return Stop(is_quota=False, is_of_project=True, is_of_family=True)
    return None


def is_outcome_known(status: int, *, is_providers_own: bool) -> bool:
    """Whether an error means that the call was not billed. A 5xx does only in the provider's own words.

    A 408 is a gateway's: it had waited long enough for whoever was working on the call.
    """
    if status in UNBILLED_SERVER_ERRORS:
        return is_providers_own
    return status < 500 and status != 408


def _pause(attempts: int, jitter: float, at_least: float | None = None) -> float:
    backoff = min(BACKOFF_BASE_SECONDS * 2.0 ** (attempts - 1), BACKOFF_CAP_SECONDS)
    spread = backoff * (0.5 + jitter / 2)
    return max(spread, min(at_least or 0.0, RETRY_AFTER_CAP_SECONDS) * (1 + jitter / 10))
