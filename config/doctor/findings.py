"""What the doctor found."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"  # it works, and will hurt some day
    FAIL = "fail"  # it does not work, or a promise does not hold


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` says what to do where it is not as it should be."""

    level: Level
    found: str
    remedy: str = ""


def ok(found: str) -> Finding:
    return Finding(Level.OK, found)


def warn(found: str, remedy: str) -> Finding:
    return Finding(Level.WARN, found, remedy)


def fail(found: str, remedy: str) -> Finding:
    return Finding(Level.FAIL, found, remedy)
