"""`python -m config.embedded COMMAND`: what `make` runs once the virtual environment is there."""

import argparse
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from config.embedded import checks, postgres, services, stack
from config.embedded.place import Place, Taken
from config.embedded.ports import free_port, holder, is_free
from config.embedded.processes import CHECKOUT, NotReady, die_with_parent
from config.embedded.supervisor import GaveUp, Stopped, Supervisor, say

FAILED, TAKEN, PORT_TAKEN, STOPPED = 1, 3, 4, 130
_DEFAULT_PORT = 8000
_RULE = "-" * 100


def main() -> int:
    """Run the command of the command line and give back its exit code."""
    _die_with_make()
    arguments = _arguments(sys.argv[1:])
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except (NotReady, GaveUp, stack.Failed, postgres.Refused, PermissionError, FileNotFoundError) as problem:
        say(f"{problem}")
        return FAILED
    except Stopped:
        say("stopped")
        return STOPPED
    except Taken as taken:
        say(f"{taken}: one at a time per folder; stop it with Ctrl-C, or give this one BURSAR_VAR_DIR and BURSAR_PORT")
        return TAKEN


def _arguments(given: list[str]) -> argparse.Namespace:
    """What the command line says; what a command passes on is in `rest` as it was given."""
    parser = _parser()
    name, rest = given[:1], given[1:]
    alone = parser.parse_args(name)
    if "rest" in alone and rest not in (["-h"], ["--help"]):
        alone.rest = rest
        return alone
    return parser.parse_args(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m config.embedded", description="Run Bursar on this machine alone.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start Bursar and stay until Ctrl-C")
    up.add_argument("--demo-data", action="store_true", help="make three organizations with half a year behind them")
    up.set_defaults(command=_up)
    demo = commands.add_parser("demo", help="start Bursar, run four jobs through it, show what they cost, stop")
    demo.set_defaults(command=_demo)
    test = commands.add_parser("test", help="all checks and tests, on servers of their own")
    test.set_defaults(command=_test)
    commands.add_parser("lint", help="the checks without the tests").set_defaults(command=_lint)
    coverage = commands.add_parser("coverage", help="all tests, and which branches of the money and the work they take")
    coverage.set_defaults(command=_coverage)
    bench = commands.add_parser("bench", help="the benchmarks, on servers with durable settings")
    bench.set_defaults(command=_bench)
    chaos = commands.add_parser("chaos", help="load on all of Bursar while its processes and servers are killed")
    chaos.set_defaults(command=_chaos)
    commands.add_parser("clean", help="remove all data, the virtual environment and the caches").set_defaults(
        command=_clean
    )
    only = commands.add_parser("services", help="only PostgreSQL and Valkey, forgotten when stopped")
    only.add_argument("--json", action="store_true", help="print one JSON object, and stop when standard input ends")
    only.set_defaults(command=_services)
    passing = ((demo, "manage.py demo"), *((one, "pytest") for one in (test, coverage, bench, chaos)))
    for passing_on, to in passing:
        passing_on.usage = f"python -m config.embedded {passing_on.prog.split()[-1]} [arguments for {to}]"
        passing_on.set_defaults(rest=[])
    return parser


def _die_with_make() -> None:
    """When `make` is killed nobody waits for us any more, and the terminal's Ctrl-C no longer comes."""
    try:
        parent = Path(f"/proc/{os.getppid()}/comm").read_text().strip()
    except OSError:
        return
    if parent in {"make", "gmake"}:
        die_with_parent(signal.SIGTERM)


# --- up and demo ------------------------------------------------------------------------------------------------------
def _up(arguments: argparse.Namespace) -> int:
    place = Place.of(os.environ)
    with place.held():
        port = _wanted_port(os.environ)
        if not _port_is_ours(port):
            return PORT_TAKEN
        supervisor = Supervisor(stack.environment_of_checkout(os.environ, place), place.logs)
        try:
            running = stack.bring_up(supervisor, place, port)
            print(_welcome(running, place), flush=True)
            if arguments.demo_data:
                say("making the demo data")
                supervisor.run_in_terminal([*stack.MANAGE, "seed_demo_data"])
            supervisor.watch()
        finally:
            say("stopping")
            supervisor.stop()
    say("stopped; the data stays in " + str(place.path))
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    place = Place.of(os.environ)
    try:
        with place.held():
            return _demo_of_its_own(place, arguments.rest)
    except Taken as taken:
        running = place.running()
        if running is None or not stack.answers(running.address):
            raise
        say(f"using the copy that runs at {running.address} (pid {taken.pid})")
        command = _demo_command(running.address, place, arguments.rest)
        return subprocess.run(command, cwd=CHECKOUT, env={**os.environ, **running.environment}, check=False).returncode


def _demo_of_its_own(place: Place, rest: list[str]) -> int:
    port = _wanted_port(os.environ)
    if "BURSAR_PORT" not in os.environ and not is_free(port):
        port = free_port()
    if not _port_is_ours(port):
        return PORT_TAKEN
    supervisor = Supervisor(stack.environment_of_checkout(os.environ, place), place.logs)
    try:
        up = stack.bring_up(supervisor, place, port)
        return supervisor.run_in_terminal(_demo_command(up.address, place, rest))
    finally:
        say("stopping")
        supervisor.stop()


def _demo_command(address: str, place: Place, rest: list[str]) -> list[str]:
    return [*stack.MANAGE, "demo", "--base-url", address, "--credentials-file", str(place.credentials), *rest]


def _wanted_port(environment: Mapping[str, str]) -> int:
    text = environment.get("BURSAR_PORT") or str(_DEFAULT_PORT)
    if not (text.isdigit() and 0 < int(text) < 65536):
        raise stack.Failed(f"BURSAR_PORT is {text!r} and should be a number from 1 to 65535")
    return int(text)


def _port_is_ours(port: int) -> bool:
    """Whether the web server can have `port`; says who has it when it cannot."""
    deadline = time.monotonic() + 1.0  # a copy that was killed a moment ago is still letting go of it
    while not is_free(port):
        if time.monotonic() > deadline:
            who = holder(port)
            say(
                f"port {port} is taken{f' by {who}' if who else ''}: stop that, or take another with "
                f"BURSAR_PORT={port + 1}. Nothing was started."
            )
            return False
        time.sleep(0.1)
    return True


def _welcome(up: stack.Stack, place: Place) -> str:
    """What somebody needs who has just started it."""
    key = up.credentials.get("api_key", "")
    body = '{"model": "o4-mini", "prompt": "Why is the sky blue?"}'
    provider = (
        "the SIMULATOR: no key is set, nothing leaves this machine. OPENAI_API_KEY=sk-... make up for the real one"
        if up.simulated
        else up.environment.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    )
    return "\n".join(
        [
            "",
            _RULE,
            f"Bursar runs at    {up.address}",
            f"API and docs      {up.address}/api/v1/docs",
            f"Admin             {up.address}/admin/",
            f"  log in as       {up.credentials.get('owner_email', '')}  {up.credentials.get('owner_password', '')}",
            f"API key           {key}",
            f"Model provider    {provider}",
            f"Logs              {place.logs}",
            "",
            f"curl -s {up.address}/api/v1/jobs -H 'Authorization: Bearer {key}' \\",
            f"     -H 'Content-Type: application/json' -d '{body}'",
            "",
            "Ctrl-C stops it; the data stays.",
            _RULE,
        ]
    )


# --- checks -----------------------------------------------------------------------------------------------------------
def _test(arguments: argparse.Namespace) -> int:
    return _check([*checks.LINT, checks.tests(arguments.rest)], durable=False)


def _lint(arguments: argparse.Namespace) -> int:
    return _check(checks.LINT, durable=False)


def _coverage(arguments: argparse.Namespace) -> int:
    return _check([checks.coverage(arguments.rest)], durable=False)


def _bench(arguments: argparse.Namespace) -> int:
    step = checks.benchmarks(arguments.rest)
    if step is None:
        say("no benchmarks yet")
        return 0
    return _check([step], durable=True)


def _chaos(arguments: argparse.Namespace) -> int:
    return _check([checks.chaos(arguments.rest)], durable=True)


def _check(steps: list[checks.Step] | tuple[checks.Step, ...], *, durable: bool) -> int:
    with services.ephemeral_directory() as directory:
        supervisor = Supervisor(os.environ, directory / "log")
        try:
            supervisor.environment.update(
                services.start(supervisor, directory, os.environ, durable=durable, for_tests=True)
            )
            supervisor.environment.setdefault("BURSAR_SECRET_KEY", "a secret of the checks, which keep nothing")
            return checks.run(supervisor, steps)
        finally:
            supervisor.stop()


# --- services and clean -----------------------------------------------------------------------------------------------
def _services(arguments: argparse.Namespace) -> int:
    with services.ephemeral_directory() as directory:
        supervisor = Supervisor(os.environ, directory / "log")
        try:
            names = services.start(supervisor, directory, os.environ, durable=False, for_tests=True)
            if arguments.json:
                print(json.dumps(names), flush=True)
                while not select.select([sys.stdin], [], [], 0)[0]:
                    supervisor.watch_for(0.2)
            else:
                print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in names.items()), flush=True)
                say("Ctrl-C stops them and forgets what they hold")
                supervisor.watch()
        finally:
            supervisor.stop()
    return 0


def _clean(arguments: argparse.Namespace) -> int:
    place = Place.of(os.environ)
    caches = [*CHECKOUT.glob(".*_cache"), *(CHECKOUT / name for name in (".coverage", "htmlcov", ".tools", ".venv"))]
    with place.held():
        for found in (place.path, postgres.reachable_directory(place.path / "postgres").parent, *caches):
            if found.is_dir():
                say(f"removing {found}")
                shutil.rmtree(found)
            else:
                found.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
