"""The dependency audit: what it takes for a finding, for silence, and for no answer."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.audit import run

CHECKOUT = Path(__file__).resolve().parents[2]
ADVISORY = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.1"], "description": "It leaks."}
GOOD = {"name": "sound", "version": "1.0", "vulns": []}
BAD = {"name": "leaky", "version": "2.0", "vulns": [ADVISORY]}
UNKNOWN = {"name": "unheard-of", "skip_reason": "Dependency not found"}


def report(*packages):
    return {"dependencies": list(packages), "fixes": []}


def test_an_advisory_is_a_finding_unless_it_was_accepted_under_any_of_its_names():
    verdict = run.judge(report(GOOD, BAD))
    assert verdict.found == ("leaky 2.0: PYSEC-2026-1, mended in 2.1",)
    assert run.outcome(verdict, is_needed=False) == 1
    verdict = run.judge(report(GOOD, BAD), {"CVE-2026-1": "we never call it"})
    assert (verdict.found, verdict.audited) == ((), 2)
    assert run.outcome(verdict, is_needed=True) == 0


def test_silence_is_no_clean_bill(capsys):
    """The tool finds nothing wrong with packages that the service has never heard of."""
    verdict = run.judge(report(GOOD, UNKNOWN))
    assert verdict.silent == ("unheard-of",)
    assert [run.outcome(verdict, is_needed=needed) for needed in (False, True)] == [0, 1]
    assert "not audited: unheard-of" in capsys.readouterr().out
    for nothing in (run.judge(report(UNKNOWN)), None):
        assert [run.outcome(nothing, is_needed=needed) for needed in (False, True)] == [0, 1]
        assert "NOT AUDITED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        ("import sys; sys.exit('the service does not answer')", None),
        ("import time; time.sleep(60)", None),
        (f"import json, sys; json.dump({report(BAD)!r}, open(sys.argv[sys.argv.index('--output') + 1], 'w'))", 1),
    ],
)
def test_only_a_report_is_an_answer(tmp_path, monkeypatch, program, verdict):
    (tmp_path / "pip_audit.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(run, "SECONDS", 3)
    found = run.audit(Path(sys.executable), run.LOCKS)
    assert (found and len(found.found)) == verdict


def test_every_lock_file_is_audited_and_names_hashes():
    listed = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    locks = {name for name in listed.stdout.split() if re.search(r"(^|/)(requirements|uv)\.txt$", name)}
    assert set(run.LOCKS) == locks
    for name in run.LOCKS:
        text = (CHECKOUT / name).read_text()
        pinned = re.findall(r"^[a-z0-9._-]+(?:\[[a-z,]+\])?==.*\n    --hash=sha256:", text, re.M | re.I)
        assert len(pinned) == len(re.findall(r"^\S+==", text, re.M)), name


def test_make_and_ci_run_it():
    assert "tests/audit/run.py" in (CHECKOUT / "Makefile").read_text()
    assert re.search(r"^make audit", (CHECKOUT / ".ci" / "run").read_text(), re.M)
