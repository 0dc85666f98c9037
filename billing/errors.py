"""What can go wrong with money."""

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
