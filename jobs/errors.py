"""What can go wrong with a job before it reaches the provider."""

from accounts.errors import DomainError


class NotCancellable(DomainError):
    """The job can no longer be cancelled."""

    code = "not_cancellable"


class NotErasable(DomainError):
    """The job is not final: what it asks is still needed. Cancel it first, or wait for its end."""

    code = "not_erasable"


class MaxCostTooSmall(DomainError):
    """The call can cost more than its max_cost_usd."""

    code = "max_cost_exceeded"


class AdviceBlocks(DomainError):
    """The project refuses prompts with advice of this kind."""

    code = "advice_blocks"


class RateLimitUnknown(DomainError):
    """No rate limit is known for this model at the organization's usage tier, so no call of it may start."""

    code = "rate_limit_unknown"


class RequestTooLarge(DomainError):
    """One call counts for more tokens than the provider admits in a whole minute; it would never start."""

    code = "request_too_large"


class BacklogFull(DomainError):
    """As many jobs of this project are queued as may be. Send it again when some of them have started."""

    code = "backlog_full"


class TooManyWaiting(DomainError):
    """As many connections wait for answers as may, so nothing was queued. Try again, or send Prefer: respond-async."""

    code = "too_many_waiting"
