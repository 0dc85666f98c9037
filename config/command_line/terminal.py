"""Where a command writes: data to stdout and nothing else, everything that is said about it to stderr."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

COLORS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "dim": 2, "bold": 1}
# What could move the cursor, or turn the direction of the text, on the terminal of whoever reads somebody's words.
_TURNING = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F]
_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *_TURNING], "\ufffd")
_IN_LINES = {code: sign for code, sign in _CONTROLS.items() if code not in (9, 10)}
_NARROWEST = 8


def safe(text: object) -> str:
    """A text for one cell or line of a terminal: nothing in it is a command to the terminal."""
    return " ".join(str(text).split()).translate(_CONTROLS)


def safe_lines(text: str) -> str:
    """The same for a text of several lines."""
    return text.replace("\r\n", "\n").translate(_IN_LINES)


def columns_of(stream: TextIO) -> int:
    """How wide the terminal is."""
    try:
        # Not of `shutil`, which loads every way of compressing files.
        return int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        try:
            return os.get_terminal_size(stream.fileno()).columns or 80
        except OSError:
            return 80


class Column:
    """A column of a table. A flexible one is cut where the table is wider than the terminal."""

    def __init__(self, title: str, *, right: bool = False, flexible: bool = False):
        self.title, self.right, self.flexible = title, right, flexible


class Terminal:
    """The two streams of a command, and how they are to be used."""

    def __init__(self, *, is_json: bool = False, is_quiet: bool = False, may_color: bool = True):
        self.is_json, self.is_quiet = is_json, is_quiet
        self.is_terminal = sys.stdout.isatty()
        self._may_color = may_color and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.has_progress = sys.stderr.isatty() and not is_quiet
        self._is_shown = False

    # --- Data ---------------------------------------------------------------------------------------------------------
    def data(self, text: str) -> None:
        """A line on stdout, at once: whoever reads a pipe waits for it."""
        self.clear()
        print(text, flush=True)

    def json(self, value: Any) -> None:
        """One JSON value on one line of stdout."""
        self.data(json.dumps(value, ensure_ascii=False))

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, empty: str) -> None:
        """An aligned table on stdout; where there are no rows, a word on stderr about what to do."""
        if not rows:
            self.say(empty)
            return
        cells = [[safe(cell) for cell in row] for row in rows]
        widths = [max(len(column.title), *(len(row[n]) for row in cells)) for n, column in enumerate(columns)]
        self._fit(columns, widths)
        titles = [self._cell(column.title, column, width) for column, width in zip(columns, widths, strict=True)]
        self.data(self.color("  ".join(titles).rstrip(), "bold"))
        for row in cells:
            line = [self._cell(cell, column, width) for cell, column, width in zip(row, columns, widths, strict=True)]
            self.data("  ".join(line).rstrip())

    def _fit(self, columns: Sequence[Column], widths: list[int]) -> None:
        """Narrows the flexible columns until the table fits; not at all where nobody sees its width."""
        if not self.is_terminal:
            return
        excess = sum(widths) + 2 * (len(widths) - 1) - columns_of(sys.stdout)
        for n, column in enumerate(columns):
            if excess > 0 and column.flexible:
                narrower = max(_NARROWEST, widths[n] - excess)
                excess -= widths[n] - narrower
                widths[n] = narrower

    def _cell(self, text: str, column: Column, width: int) -> str:
        if len(text) > width:
            text = text[: width - 1] + "…"
        padded = text.rjust(width) if column.right else text.ljust(width)
        return self.status(padded)

    # --- What is said -------------------------------------------------------------------------------------------------
    def say(self, text: str) -> None:
        """A line on stderr, unless it is to be quiet."""
        if not self.is_quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """A line on stderr in any case."""
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def progress(self, text: str) -> None:
        """Replaces the line that shows how far it is; only where stderr is a terminal."""
        if self.has_progress:
            width = columns_of(sys.stderr) - 1
            sys.stderr.write("\r\x1b[2K" + text[:width])
            sys.stderr.flush()
            self._is_shown = True

    def clear(self) -> None:
        """Takes the line of progress away, so that something else can stand there."""
        if self._is_shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._is_shown = False

    # --- Colors and bars ----------------------------------------------------------------------------------------------
    def color(self, text: str, name: str) -> str:
        """The text in this color, where stdout is a terminal that wants any."""
        return f"\x1b[{COLORS[name]}m{text}\x1b[0m" if self._may_color and self.is_terminal else text

    def status(self, text: str) -> str:
        """A cell in the color of the status that it is."""
        name = _STATUS_COLORS.get(text.strip())
        return self.color(text, name) if name else text


_STATUS_COLORS = {
    "succeeded": "green",
    "incomplete": "yellow",
    "in_doubt": "yellow",
    "failed": "red",
    "cancelled": "dim",
    "running": "cyan",
}
_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(part: Any, whole: Any, width: int = 24) -> str:
    """A bar that is filled by part of whole, to an eighth of a sign; both are Decimals or whole numbers."""
    if whole <= 0 or part <= 0:
        return " " * width
    eighths = min(int(part * 8 * width / whole), 8 * width)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)
