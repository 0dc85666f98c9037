"""Saves what an answer holds while it is sent: whole, or not at all."""

import os
import sys
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO

from config.command_line.endings import Unreachable, UsageError
from config.command_line.terminal import Terminal

_PIECE = 256 * 1024
_BROKEN_OFF = "The file broke off, and was not kept."


def check_free(output: str, *, may_replace: bool) -> None:
    """Raises UsageError where a file of this name is there that nobody wants replaced."""
    if Path(output).exists() and not may_replace:
        raise UsageError(f"{output} is there already; --force replaces it.")


def save(response: HTTPResponse, output: str, terminal: Terminal) -> int:
    """Writes beside the file and renames at the end, so that what has its name is whole; how many bytes.

    Raises Unreachable where the answer breaks off, and UsageError where it cannot be written.
    """
    path = Path(output)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("xb") as file:
            size = _copy(response, file, terminal)
        draft.replace(path)
    except (TimeoutError, HTTPException) as error:
        raise Unreachable(_BROKEN_OFF) from error
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return size


def pass_on(response: HTTPResponse, terminal: Terminal) -> int:
    """Writes to stdout; how many bytes. Raises Unreachable where the answer breaks off."""
    try:
        size = _copy(response, sys.stdout.buffer, terminal)
    except (TimeoutError, HTTPException) as error:
        raise Unreachable(_BROKEN_OFF) from error
    sys.stdout.buffer.flush()
    return size


def _copy(response: HTTPResponse, file: BinaryIO, terminal: Terminal) -> int:
    size = 0
    while piece := response.read(_PIECE):
        file.write(piece)
        size += len(piece)
        terminal.progress(f"{size:,} bytes")
    return size
