"""`make audit`: whether an advisory is known for anything that the lock files name.

Installs pip-audit into .tools/audit. It asks a service on the network, and says so where that does not answer, or has
never heard of the packages: then nothing was audited, which is told and fails nothing, unless BURSAR_NEEDS_AUDIT=1
(docs/decisions/0033).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / ".tools" / "audit"
# Locked apart from ours: it is a program that runs beside, not a part of the tests (pyproject.toml says how).
TOOL = Path(__file__).with_name("requirements.txt")
LOCKS = ("requirements.txt", "tests/requirements.txt", "tests/audit/requirements.txt", "config/embedded/uv.txt")
SECONDS = 300
# Advisories that do not concern us, each with why, and until which version of the package we think so.
ACCEPTED: Mapping[str, str] = {}


@dataclass(frozen=True)
class Verdict:
    """What is to be told of an audit: known advisories, and packages of which nobody said anything."""

    found: tuple[str, ...]
    silent: tuple[str, ...]
    audited: int


def judge(report: Mapping[str, Any], accepted: Mapping[str, str] = ACCEPTED) -> Verdict:
    """The verdict of pip-audit's report. A package that the service does not know was not audited."""
    found, silent, audited = [], [], 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            silent.append(package["name"])
            continue
        audited += 1
        for advisory in package["vulns"]:
            if not {advisory["id"], *advisory.get("aliases", ())} & set(accepted):
                fixed = ", ".join(advisory.get("fix_versions") or ()) or "no version yet"
                found.append(f"{package['name']} {package['version']}: {advisory['id']}, mended in {fixed}")
    return Verdict(tuple(found), tuple(silent), audited)


def outcome(verdict: Verdict | None, *, is_needed: bool) -> int:
    """The exit code, and on the screen why. No verdict: the audit could not be made."""
    if verdict is None or not verdict.audited:
        say("NOT AUDITED: the advisory service does not answer, or knows none of the packages")
        return int(is_needed)
    for line in verdict.found:
        say(line)
    if verdict.silent:
        say(f"not known to the service, and not audited: {', '.join(verdict.silent)}")
    say(f"{verdict.audited} packages audited, {len(verdict.found)} known advisories")
    return int(bool(verdict.found) or (is_needed and bool(verdict.silent)))


def say(text: str) -> None:
    print(f"audit: {text}", flush=True)


def audit(python: Path, locks: Sequence[str]) -> Verdict | None:
    """The verdict of pip-audit about lock files; None where it made no report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [str(python), "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
        command += ["--format", "json", "--output", str(report)]
        for lock in locks:
            command += ["--requirement", lock]
        try:
            # It ends alike for an advisory that it found and for a service that it did not: the report tells.
            subprocess.run(command, cwd=CHECKOUT, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return None
        return judge(json.loads(report.read_text())) if report.exists() else None


def tool() -> Path | None:
    """The Python that has pip-audit; None where it cannot be installed."""
    python = FOLDER / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", str(TOOL)]
    return python if subprocess.run(install, check=False).returncode == 0 else None


def main() -> int:
    python = tool()
    verdict = audit(python, LOCKS) if python else None
    return outcome(verdict, is_needed=os.environ.get("BURSAR_NEEDS_AUDIT") == "1")


if __name__ == "__main__":
    sys.exit(main())
