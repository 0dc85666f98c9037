"""`bursar export`: what was spent, as a file that is written while it is sent."""

import os
import sys
from argparse import Namespace
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO

from config.command_line.api import connect
from config.command_line.endings import Ending, Interrupted, Unreachable, UsageError
from config.command_line.spend import query_of
from config.command_line.terminal import Terminal

_PIECE = 256 * 1024


def run(options: Namespace, terminal: Terminal) -> int:
    """The file. One that breaks off is removed, and is no success."""
    if options.output is None and options.format.endswith("parquet") and terminal.is_terminal:
        raise UsageError("Parquet is not for a terminal: name a file by -o.")
    if options.output and Path(options.output).exists() and not options.force:
        raise UsageError(f"{options.output} is there already; --force replaces it.")
    with connect(options, terminal) as api:
        response = api.download("spend/export", {**query_of(options), "format": options.format})
        try:
            size = _save(response, options.output, terminal) if options.output else _print(response, terminal)
        except KeyboardInterrupt:
            raise Interrupted("Stopped; there is no file, because half of one would not be the spend.") from None
        except BrokenPipeError:
            raise
        except HTTPException as error:
            raise Unreachable("The file broke off, and was not kept.") from error
    terminal.clear()
    terminal.say(f"{size:,} bytes" + (f" in {options.output}" if options.output else ""))
    return Ending.OK


def _save(response: HTTPResponse, output: str, terminal: Terminal) -> int:
    """Writes beside the file and renames at the end, so that what has its name is whole."""
    path = Path(output)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("xb") as file:
            size = _copy(response, file, terminal)
        draft.replace(path)
    except TimeoutError as error:
        raise Unreachable("The file broke off, and was not kept.") from error
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return size


def _print(response: HTTPResponse, terminal: Terminal) -> int:
    size = _copy(response, sys.stdout.buffer, terminal)
    sys.stdout.buffer.flush()
    return size


def _copy(response: HTTPResponse, file: BinaryIO, terminal: Terminal) -> int:
    size = 0
    while piece := response.read(_PIECE):
        file.write(piece)
        size += len(piece)
        terminal.progress(f"{size:,} bytes")
    return size
