"""How log lines look: as text for people, or as one JSON object each for programs.

Either way with the ids they are about, and without secrets, should one ever come along in the words of an error.
"""

import json
import logging
import re
from datetime import UTC, datetime

from accounts.log_context import current

# Keys of the provider, API keys of ours, passwords in URLs.
_SECRET = re.compile(r"\b(sk-|bk_live_)[A-Za-z0-9_-]{4,}|(?<=://)([^\s:/@]*):[^\s/@]+(?=@)")


class TextFormatter(logging.Formatter):
    """2026-11-22 17:03:05,120 INFO jobs.execution.calls what happened [attempt_id=... job_id=...]"""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name} {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:  # as logging calls it
        ids = " ".join(f"{name}={value}" for name, value in sorted(current().items()))
        return super().formatMessage(record) + (f" [{ids}]" if ids else "")

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, process; the ids by their names; an exception if any."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            **current(),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": self._process,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: without_secrets(value) for name, value in line.items()})


def without_secrets(text: str) -> str:
    return _SECRET.sub(_masked, text)


def _masked(found: "re.Match[str]") -> str:
    return f"{found[1]}***" if found[1] else f"{found[2]}:***"
