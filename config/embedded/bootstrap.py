"""Make `.venv` from the lock files when it is not there, then run `python -m config.embedded COMMAND` in it.

Run by whatever `python3` the machine has, with its standard library alone; the syntax stays that of Python 3.8, so that
an older one can at least say what is missing. Every download is checked against the hashes in the lock files.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

CHECKOUT = Path(__file__).resolve().parent.parent.parent
VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "bursar.json"
TOOLS = CHECKOUT / ".tools"
RUNTIME = "requirements.txt"
TESTS = "tests/requirements.txt"
NEEDS_TESTS = {"test", "lint", "coverage", "bench", "chaos"}
FITTING = ((3, 11), (3, 12), (3, 13))


def main() -> NoReturn:
    """Replace this process by the command, in a virtual environment that has what the command needs."""
    if len(sys.argv) < 2:
        sys.exit("usage: python3 config/embedded/bootstrap.py COMMAND [arguments]; `make help` lists the commands")
    if sys.argv[1] == "clean" and not STAMP.exists():
        clean_without_venv()
    wanted = [RUNTIME, TESTS] if sys.argv[1] in NEEDS_TESTS else [RUNTIME]
    if not is_complete(wanted):
        try:
            make_complete(wanted)
        except PermissionError as problem:
            sys.exit(f"bursar: {problem.filename} belongs to another user: remove it, or use a checkout of your own")
    os.chdir(CHECKOUT)
    # Compiling all of .venv takes longer than what is used of it, so the first process compiles that, and must keep it.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.stdout.flush()
    os.execv(str(PYTHON), [str(PYTHON), "-m", "config.embedded", *sys.argv[1:]])  # noqa: S606


def say(text: str) -> None:
    """A line for the person who waits."""
    print(f"bursar: {text}", file=sys.stderr, flush=True)


def clean_without_venv() -> NoReturn:
    """Nothing ran here yet, so there is nothing to ask before removing what a broken start may have left."""
    for folder in (VENV, TOOLS):
        shutil.rmtree(folder, ignore_errors=True)
    say("clean: there was nothing else to remove")
    sys.exit(0)


# --- Is it there already? ---------------------------------------------------------------------------------------------
def is_complete(wanted: list[str]) -> bool:
    """Whether `.venv` was finished from the `wanted` lock files as they are now, by the Python that is there now."""
    stamp = read_stamp()
    return stamp.get("python") == fingerprint_of_python() and all(
        stamp.get("locks", {}).get(lock) == fingerprint(lock) for lock in wanted
    )


def read_stamp() -> dict[str, Any]:
    """What the last complete run wrote; empty when there was none."""
    try:
        stamp: dict[str, Any] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp


def fingerprint(lock: str) -> str:
    """A digest of a lock file."""
    return hashlib.sha256((CHECKOUT / lock).read_bytes()).hexdigest()


def fingerprint_of_python() -> list[str] | None:
    """The place of the venv and of the Python behind it, None when either is gone; a venv survives no move."""
    try:
        behind = PYTHON.resolve(strict=True)
        return [str(VENV), str(behind), str(int(behind.stat().st_mtime))]
    except OSError:
        return None


# --- Make it ----------------------------------------------------------------------------------------------------------
def make_complete(wanted: list[str]) -> None:
    """Bring `.venv` to the lock files, one process at a time. Raises PermissionError where another user made it."""
    # The folder itself is the lock: no file of it is left over, and a killed process lets go of it.
    held = os.open(CHECKOUT, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another `make` is preparing .venv, waiting for it")
        fcntl.flock(held, fcntl.LOCK_EX)
    if not is_complete(wanted):
        stamp = read_stamp()
        # What was installed for the tests stays when only the service is asked for.
        locks = [lock for lock in (RUNTIME, TESTS) if lock in wanted or lock in stamp.get("locks", {})]
        if STAMP.exists() and stamp.get("python") != fingerprint_of_python():
            say("making .venv anew: it was left half made, or its Python has gone")
            shutil.rmtree(VENV)
        install(locks)
        STAMP.write_text(json.dumps({"python": fingerprint_of_python(), "locks": {x: fingerprint(x) for x in locks}}))
    os.close(held)


def install(locks: list[str]) -> None:
    """Make `.venv` if there is none and install exactly what `locks` say. Exits with a message when that fails."""
    VENV.mkdir(exist_ok=True)
    STAMP.write_text("{}")  # an empty stamp stays behind when this is interrupted
    uv = shutil.which("uv") or shutil.which("uv", path=str(TOOLS / "bin")) or fetch_uv(sys.executable)
    if not PYTHON.exists():
        make_venv(uv)
    uv = uv or fetch_uv(str(PYTHON))
    say(f"installing {' and '.join(locks)} (once; later starts skip this)")
    if uv and run(
        [uv, "pip", "sync", "-q", "--python", str(PYTHON), "--require-hashes", *locks],
        uv_environment(),
    ):
        return
    files = [argument for lock in locks for argument in ("-r", lock)]
    if uv:
        say("uv could not do it, trying pip")
    if not has_pip(str(PYTHON)) or not run([str(PYTHON), "-m", "pip", "install", "-q", "--require-hashes", *files]):
        sys.exit("bursar: the packages could not be installed, see above; is there a network, or a proxy to set?")


def make_venv(uv: str | None) -> None:
    """An empty virtual environment in `.venv`. Exits with what to do when the machine lacks the parts."""
    wish = sys.executable if sys.version_info[:2] in FITTING else ">=3.11,<3.14"
    if uv and run([uv, "venv", "-q", "--allow-existing", "--python", wish, str(VENV)], uv_environment()):
        return
    python = fitting_python()
    if python is None:
        running = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            f"bursar: this needs Python 3.11, 3.12 or 3.13; python3 is {running} and no other is on PATH.\n"
            "        Install one of them, or uv, which brings its own."
        )
    if not can_make_venv(python):
        get_venv_module(python)
    say(f"making .venv with {python}")
    if not run([python, "-m", "venv", str(VENV)]):
        sys.exit("bursar: .venv could not be made, see above")


def fitting_python() -> str | None:
    """The Python to use: the one that runs this, else one on PATH; None when none is of a version that fits."""
    if sys.version_info[:2] in FITTING:
        return sys.executable
    for major, minor in reversed(FITTING):
        found = shutil.which(f"python{major}.{minor}")
        # A shim of a version manager may be there without the version behind it.
        if found and run(
            [found, "-c", f"import sys; sys.exit(sys.version_info[:2] != ({major}, {minor}))"], quiet=True
        ):
            return found
    return None


def can_make_venv(python: str) -> bool:
    """Whether its venv module can put pip into a new environment; Debian packs that separately."""
    return run([python, "-c", "import ensurepip, venv; ensurepip.version()"], quiet=True)


def get_venv_module(python: str) -> None:
    """Install the missing part of Debian's Python when we may, else exit with the command that does."""
    version = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], stdout=subprocess.PIPE, check=True
    ).stdout.decode()
    package = f"python{version.strip()}-venv"
    if shutil.which("apt-get") is None:
        sys.exit(f"bursar: {python} comes without the module ensurepip: install it (often named {package}), or uv")
    if os.geteuid() != 0:
        sys.exit(f"bursar: {python} comes without the module venv. Once: sudo apt-get install -y {package}")
    say(f"{python} comes without the module venv: apt-get install {package}")
    quiet_apt = {"DEBIAN_FRONTEND": "noninteractive"}
    get = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    if not run(get, quiet_apt, quiet=True):
        # A bare image has no list of packages yet.
        run(["apt-get", "update", "-qq"], quiet_apt)
        if not run(get, quiet_apt):
            sys.exit(f"bursar: {package} could not be installed, see above")


def fetch_uv(python: str) -> str | None:
    """uv in `.tools/`, of the pinned version, by the pip of `python`; None when there is none, or no way to get it."""
    if not has_pip(python):
        return None
    say("fetching uv, which installs faster than pip")
    quiet_pip = {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    command = [python, "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "--target", str(TOOLS)]
    run(
        [*command, "-r", str(Path(__file__).with_name("uv.txt"))],
        quiet_pip,
    )
    return shutil.which("uv", path=str(TOOLS / "bin"))


def has_pip(python: str) -> bool:
    """Whether it can run pip: a bare Debian's cannot, nor can that of a venv made by uv."""
    return run([python, "-c", "import pip"], quiet=True)


def uv_environment() -> dict[str, str]:
    """What uv needs to hear: it brings its own list of authorities, which a company's proxy is not on."""
    chosen = {"UV_SYSTEM_CERTS": "1"}
    # pip's variable for another index means the same to both.
    if os.environ.get("PIP_INDEX_URL"):
        chosen["UV_DEFAULT_INDEX"] = os.environ["PIP_INDEX_URL"]
    return {name: value for name, value in chosen.items() if name not in os.environ}


def run(command: list[str], environment: dict[str, str] | None = None, quiet: bool = False) -> bool:
    """Run `command` in the checkout; whether it succeeded. A Ctrl-C in between ends this process too."""
    output = subprocess.DEVNULL if quiet else None
    try:
        done = subprocess.run(
            command, cwd=CHECKOUT, env={**os.environ, **(environment or {})}, stdout=output, stderr=output, check=False
        )
    except OSError as problem:
        say(f"{command[0]}: {problem}")
        return False
    return done.returncode == 0


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
