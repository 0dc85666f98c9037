"""A job's state in words: what it waits for, what it used, why it failed."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from billing.admin.money import in_words, share
from jobs.models import BreakerReason, Job
from jobs.responses import tokens_of
from jobs.states import JobStatus
from jobs.waiting import waiting_on


def waiting_in_words(job: Job) -> str:
    """What kept a queued job from starting when it was last looked at; empty for one that is not queued."""
    if job.status != JobStatus.QUEUED:
        return ""
    if job.project.paused_at is not None:
        return f"its project is paused: {job.project.paused_reason}".rstrip(" :")
    return told_in_words(waiting_on(job) or {}, job.model, job.attempt_count)


def told_in_words(told: Mapping[str, Any], model: str, attempts: int = 0) -> str:
    """What a job or a whole queue waits for."""
    match told.get("reason"):
        case None | "capacity":
            return "its turn at a call slot"
        case "budget":
            return _budget_in_words(told)
        case "rate_limit":
            limit = str(told.get("limit", "unknown")).replace("_", " ")
            value = f" of {told['limit_value']:,}" if told.get("limit_value") is not None else ""
            return f"the rate limit of {told.get('model', model)}: {limit}{value}"
        case "retry":
            tried = told.get("attempts", attempts)
            return f"another try after attempt {tried}: {error_in_words(told.get('error'))}"
        case BreakerReason.UNAVAILABLE:
            return f"the provider to work again: {_breaker_in_words(told)}"
        case BreakerReason.ACCESS:
            return f"a credential that the provider accepts: {_breaker_in_words(told)}"
        case BreakerReason.QUOTA:
            return f"money on the provider's account: {_breaker_in_words(told)}"
        case reason:
            return str(reason).replace("_", " ")


def _budget_in_words(told: Mapping[str, Any]) -> str:
    measure = str(told.get("measure", "usd"))
    amount = {name: _amount(measure, told.get(name)) for name in ("required", "remaining", "limit", "spent", "held")}
    model = f" on {told['model']}" if told.get("model") else ""
    resets = f"; it begins anew at {_instant(told['resets_at'])}" if told.get("resets_at") else ""
    return (
        f"the limit of {told.get('scope', '')} {told.get('name', '')}{model}: needs {amount['required']}, "
        f"{amount['remaining']} remaining of {amount['limit']} ({amount['spent']} spent, {amount['held']} held){resets}"
    )


def _breaker_in_words(told: Mapping[str, Any]) -> str:
    return (
        f"{error_in_words(told.get('error'))}; since {_instant(told['since'])}, one call tries every minute or sooner"
    )


def _amount(measure: str, text: object) -> str:
    try:
        return in_words(measure, Decimal(str(text)))
    except (InvalidOperation, ValueError):
        return "?"


def _instant(text: object) -> str:
    """2024-10-01T00:00:00Z as 2024-10-01 00:00 UTC."""
    return f"{str(text)[:16].replace('T', ' ')} UTC"


def error_in_words(error: object) -> str:
    """Code and message of a stored error."""
    if not isinstance(error, Mapping):
        return str(error or "")
    return ": ".join(str(error[name]) for name in ("code", "message") if error.get(name))


def usage_of(job: Job) -> dict[str, int]:
    """Tokens out of the provider's own usage object; empty before there is one."""
    return tokens_of(job.usage) if job.usage else {}


def usage_in_words(job: Job) -> str:
    tokens = usage_of(job)
    if not tokens:
        return "–"
    return (
        f"{tokens['input']:,} input ({tokens['cached']:,} cached), "
        f"{tokens['output']:,} output ({tokens['reasoning']:,} reasoning, {reasoning_share(job)})"
    )


def reasoning_share(job: Job) -> str:
    tokens = usage_of(job)
    return share(tokens["reasoning"], tokens["output"]) if tokens else "–"
