"""What the log lines of this request, task or call are about: ids, never content. `config.logs` writes them.

Here, at the bottom, so that every app can say what it knows.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_ids: ContextVar[Mapping[str, str]] = ContextVar("ids", default={})  # noqa: B039  # never changed, only replaced


def add(**ids: object) -> None:
    """Adds ids to every line that follows, until the block of `about` around it ends."""
    _ids.set(_with(ids))


@contextmanager
def about(**ids: object) -> Iterator[None]:
    """Lines that are written inside have these ids, and what is added inside."""
    before = _ids.set(_with(ids))
    try:
        yield
    finally:
        _ids.reset(before)


def current() -> Mapping[str, str]:
    """The ids that a line written now has."""
    return _ids.get()


def _with(ids: Mapping[str, object]) -> Mapping[str, str]:
    return {**_ids.get(), **{name: str(value) for name, value in ids.items() if value is not None}}
