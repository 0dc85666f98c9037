"""`bursar login`: notes where a Bursar is and by which key, after trying both."""

import getpass
import sys
from argparse import Namespace

from config.command_line.api import Api
from config.command_line.endings import Ending, UsageError
from config.command_line.profiles import DEFAULT, LOCAL, Server, is_in_the_clear, keep, normal
from config.command_line.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> int:
    """Writes the login. Raises Refused for a key that the server does not know."""
    url = options.url
    if url is None and sys.stdin.isatty():
        terminal.warn(f"Address of the Bursar [{LOCAL}]:")
        url = sys.stdin.readline().strip()
    server = Server(normal(url or LOCAL), _key())
    name = options.profile or DEFAULT
    if is_in_the_clear(server.url):
        terminal.warn(f"bursar: {server.url} is no https address; the key can be read on its way there.")
    whose = ""
    if not options.unchecked:
        with Api(server, terminal, patience=options.patience) as api:
            limits = api.get("limits")
        whose = f": project {limits['project']['name']} of {limits['organization']['name']}"
    path = keep(name, server)
    if terminal.is_json:
        terminal.json({"profile": name, "url": server.url, "path": str(path)})
    terminal.say(f"Signed in to {server.url}{whose}. It stands in {path}, profile '{name}'.")
    return Ending.OK


def _key() -> str:
    # Not as an option: those stand in the list of processes and in the shell's history.
    key = getpass.getpass("API key (bk_live_...): ") if sys.stdin.isatty() else sys.stdin.readline()
    if not key.strip():
        raise UsageError("No API key was given.")
    return key.strip()
