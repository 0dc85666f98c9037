"""What can go wrong with money."""

from datetime import datetime

from accounts.errors import DomainError


class UnknownPrice(DomainError):
    """There is no price for this model, so the call is refused: it is never free. Add a price in the admin."""

    code = "price_unknown"


class LimitTooSmall(DomainError):
    """The call can cost more than the limit allows even when nothing else is spent or held."""

    code = "exceeds_limit"


class NoSuchReservation(DomainError):
    """There is no reservation with this reference."""

    code = "reservation_unknown"


class AlreadyReleased(DomainError):
    """The reservation was released before; what was billed since then is late truth and needs an adjustment."""

    code = "reservation_released"


class DifferenceChanged(DomainError):
    """The difference is not what was shown: the day was looked at again, or somebody decided. Look at it again."""

    code = "difference_changed"


class NothingToDecide(DomainError):
    """There is nothing to decide about this line: it agrees, explains itself, is looked at again, or is decided."""

    code = "nothing_to_decide"


class MonthStillOpen(DomainError):
    """A month that is not over can not be closed."""

    code = "month_open"

    def __init__(self, instant: datetime, now: datetime):
        super().__init__(
            f"Months can be closed once they are over: {instant:%Y-%m-%d %H:%M} UTC lies ahead of the database's clock,"
            f" which shows {now:%Y-%m-%d %H:%M}."
        )


class NotAllowed(DomainError):
    """This quota is managed by others: owners, admins and billing, or the lead of the team that it belongs to."""

    code = "not_allowed"


class OwnRequest(DomainError):
    """Nobody but an owner decides about what they asked for themselves."""

    code = "own_request"


class AlreadyAsked(DomainError):
    """You have asked for more of this quota, and nobody has decided yet. Withdraw that request to ask otherwise."""

    code = "already_asked"


class RequestDecided(DomainError):
    """The request was decided, withdrawn or has expired in the meantime. Look at it again."""

    code = "request_decided"


class PreviewTooLarge(DomainError):
    """So many calls were made in that month that they are not replayed in time. Preview a narrower scope."""

    code = "preview_too_large"


class ReviewRefused(DomainError):
    """The line is not there, stands elsewhere, comes to something else than was seen, or is not for this person."""

    code = "review_refused"

    def __init__(self, why: str):
        super().__init__(why)
