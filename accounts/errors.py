"""What every domain error is: a sentence for a person and a stable code for a program.

HTTP is decided in `config/errors.py`.
"""

from typing import Any


class DomainError(Exception):
    """Something the caller asked for cannot be done."""

    code = "error"

    def __init__(
        self, message: str | None = None, *, code: str | None = None, param: str | None = None, **details: Any
    ):
        self.message = message or (self.__doc__ or "").strip()
        self.code = code or self.code
        self.param = param
        self.details = details
        super().__init__(self.message)


class IdempotencyKeyReused(DomainError):
    """This Idempotency-Key was used before with another request. Use a new key for a new request."""

    code = "idempotency_key_reused"


class IdempotencyKeyInFlight(DomainError):
    """A request with this Idempotency-Key is still being worked on. Repeat it in a moment to get its answer."""

    code = "idempotency_key_in_flight"


class RoleNotYours(DomainError):
    """Owners and admins are made, changed and removed by owners alone."""

    code = "role_not_yours"


class LastOwner(DomainError):
    """An organization keeps one owner at least who may sign in. Make somebody else an owner first."""

    code = "last_owner"


class AlreadyMember(DomainError):
    """This person is a member of the organization."""

    code = "already_member"


class NameTaken(DomainError):
    """Another one of the organization is called this."""

    code = "name_taken"


class TeamOwnsProjects(DomainError):
    """The team owns projects, which its quotas bind. Give them to another team, or to none, first."""

    code = "team_owns_projects"
