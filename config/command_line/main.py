"""`bursar`: finds the command that is asked for, runs it, and says how it ended.

What a command works with is loaded when it runs: help loads none of it.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from config.command_line.commands import COMMANDS
from config.command_line.endings import MEANINGS, CommandError, Ending, Interrupted, Refused
from config.command_line.terminal import Terminal, safe

_WIDTH = max(map(len, COMMANDS)) + 2
PATIENCE_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        return _run(given)
    except BrokenPipeError:
        # Whoever read has had enough. What is still buffered has nowhere to go, and Python would say so at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Ending.OK


def _run(given: list[str]) -> int:
    top = top_parser()
    options = top.parse_args(given)
    name = options.command
    if name is None:
        top.print_help()
        return Ending.OK
    if name not in COMMANDS:
        top.error(f"there is no command '{name}'; `bursar --help` lists them")
    parser = parser_of(name)
    # What stands before the command counts as if it stood behind it.
    options = parser.parse_args(options.rest, options)
    terminal = Terminal(is_json=options.json, is_quiet=options.quiet, may_color=not options.no_color)
    try:
        command = import_module(f"config.command_line.{COMMANDS[name].module}")
        return int(command.run(options, terminal))
    except KeyboardInterrupt:
        return _end(terminal, Interrupted("Stopped."))
    except CommandError as error:
        return _end(terminal, error)


def _end(terminal: Terminal, error: CommandError) -> int:
    """Says why on stderr, with --json as the problem that Bursar answered; returns the exit code."""
    if terminal.is_json and isinstance(error, Refused):
        terminal.warn(json.dumps({"status": error.status, **error.problem}))
        return error.ending
    terminal.warn(f"bursar: {safe(error)}")
    if isinstance(error, Refused):
        for line in error.explained():
            terminal.warn(f"  {safe(line)}")
    return error.ending


# --- Parsers ----------------------------------------------------------------------------------------------------------
def top_parser() -> argparse.ArgumentParser:
    """What stands before the command; everything behind it is left to the command's own parser."""
    commands = "\n".join(f"  {name:<{_WIDTH}}{command.about}" for name, command in COMMANDS.items())
    endings = "\n".join(f"  {ending:<{_WIDTH}}{MEANINGS[ending]}" for ending in Ending)
    parser = argparse.ArgumentParser(
        prog="bursar",
        usage="bursar [options] COMMAND ...",
        description="Runs prompt jobs on reasoning models by a Bursar, and shows what they cost.",
        epilog=f"commands:\n{commands}\n\nexit codes:\n{endings}\n\n"
        "Data goes to stdout, messages to stderr. `bursar COMMAND --help` says more of a command.\n"
        "BURSAR_URL and BURSAR_API_KEY name the server and the key; `bursar login` notes both in a file.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _common(parser, is_top=True)
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    command = COMMANDS[name]
    parser = argparse.ArgumentParser(
        prog=f"bursar {name}",
        description=command.about[0].upper() + command.about[1:] + ".",
        epilog=command.examples or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.describe(parser)
    _common(parser, is_top=False)
    return parser


def _common(parser: argparse.ArgumentParser, *, is_top: bool) -> None:
    """The options of every command. Behind the command they have no defaults, which would undo what stands before."""

    def default(value: object) -> object:
        return value if is_top else argparse.SUPPRESS

    common = parser.add_argument_group("common options")
    common.add_argument("--url", metavar="URL", default=default(None), help="the server; default: BURSAR_URL")
    common.add_argument("--profile", metavar="NAME", default=default(None), help="which of the logins; BURSAR_PROFILE")
    common.add_argument("--json", action="store_true", default=default(False), help="data as JSON, one value a line")
    common.add_argument("-q", "--quiet", action="store_true", default=default(False), help="say nothing but errors")
    common.add_argument("--no-color", action="store_true", default=default(False), help="as with NO_COLOR set")
    common.add_argument(
        "--patience",
        type=float,
        metavar="SECONDS",
        default=default(PATIENCE_SECONDS),
        help=f"how long to repeat what Bursar does not answer for the moment; default {PATIENCE_SECONDS:.0f}",
    )


if __name__ == "__main__":
    sys.exit(main())
