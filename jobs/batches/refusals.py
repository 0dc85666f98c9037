"""Why a line has no answer, in the provider's words: an HTTP refusal as a single request would have got, or a code."""

from collections.abc import Mapping
from typing import Any

from accounts.errors import DomainError
from billing.errors import LimitTooSmall, UnknownPrice
from jobs.errors import RateLimitUnknown, RequestTooLarge
from jobs.models import Job
from jobs.validation import RequestRejected

_STATUS: Mapping[type[DomainError], int] = {
    RateLimitUnknown: 403,
    RequestTooLarge: 400,
    UnknownPrice: 400,
}
INVALID = "invalid_request_error"
QUOTA = "insufficient_quota"


def answered(status: int, message: str, *, kind: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    """What is stored of an error that has an HTTP status: the provider's own envelope goes into the error file."""
    return {"status": status, "body": {"error": {"message": message, "type": kind, "param": param, "code": code}}}


def unanswered(code: str, message: str) -> dict[str, Any]:
    """What is stored of a line that was never sent, or whose answer never came."""
    return {"code": code, "message": message}


EXPIRED = unanswered("batch_expired", "The completion window ended before this request had started.")
CANCELLED = unanswered("batch_cancelled", "The batch was cancelled before this request had started.")
JOB_CANCELLED = unanswered("job_cancelled", "The job of this request was cancelled before it had started.")
ERASED = unanswered("content_erased", "What was said of this request was erased before the file was written.")
COST_LIMIT = unanswered(
    "batch_cost_limit_reached",
    "This request was not run: with it, the batch could have come to more than its X-Max-Cost-USD.",
)
IN_DOUBT = unanswered(
    "outcome_unknown",
    "The answer was lost on its way, and what the provider billed is not known. The job says what comes of it.",
)
INTERNAL = answered(500, "The request could not be submitted.", kind="server_error", code="internal_error")
KEY_OVER = answered(
    401,
    "The API key that made this batch has expired or was revoked.",
    kind=INVALID,
    code="invalid_api_key",
)


def refused(error: DomainError) -> dict[str, Any]:
    """A request that was refused before it became a job."""
    if isinstance(error, LimitTooSmall):
        return answered(429, error.message, kind=QUOTA, code=QUOTA, param=error.param)
    if isinstance(error, RequestRejected):
        return answered(error.status, error.message, kind=error.type, code=error.provider_code, param=error.param)
    return answered(_STATUS.get(type(error), 400), error.message, kind=INVALID, code=error.code, param=error.param)


def failed(job: Job) -> dict[str, Any]:
    """A job that has failed: the provider's refusal where there was one, and else why there is no answer."""
    error: dict[str, Any] = job.error or {}
    code, message = error.get("code"), error.get("message") or "The job has failed."
    status = error.get("status")
    if not status:
        return unanswered(code or "failed", message)
    return answered(status, message, kind=error.get("type") or INVALID, code=code, param=error.get("param"))
