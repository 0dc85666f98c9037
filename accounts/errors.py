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
