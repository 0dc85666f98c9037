"""`bursar version`."""

from argparse import Namespace
from importlib import metadata

from config.command_line.endings import Ending
from config.command_line.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> int:
    """The version of the installed package; of a checkout that is not installed, none."""
    try:
        version = metadata.version("bursar")
    except metadata.PackageNotFoundError:
        version = "not installed"
    if terminal.is_json:
        terminal.json({"version": version})
    else:
        terminal.data(f"bursar {version}")
    return Ending.OK
