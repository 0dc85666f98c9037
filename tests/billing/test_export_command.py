"""`manage.py export_spend`."""

import io

import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEntry
from billing.exports import streams
from tests.billing.exported import Call, live


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


PAST = [Call(hour, 0, (1, 0, 1, 0), False, 0) for hour in (1, 2, 3)]
DAYS = ("--from", "2026-03-01", "--to", "2026-04-01")


def run(*more: str, stderr=None) -> str:
    out = io.StringIO()
    call_command("export_spend", "--organization", "alice", *DAYS, *more, stdout=out, stderr=stderr or io.StringIO())
    return out.getvalue()


def test_a_file_is_written_whole_and_never_over_another(project, owner, tmp_path):
    live(project, owner, PAST)
    output = tmp_path / "spend.csv"
    assert "3 rows" in run("--output", str(output))
    first = output.read_bytes()
    assert first.count(b"\n") == 4
    with pytest.raises(CommandError, match="--force writes over it"):
        run("--output", str(output), "--format", "focus")
    assert output.read_bytes() == first
    assert "6 rows" in run("--output", str(output), "--format", "focus", "--force")
    assert output.read_bytes() != first
    assert [path.name for path in tmp_path.iterdir()] == ["spend.csv"]
    assert {entry.actor_name for entry in AuditEntry.objects.filter(action="exported")} == {"manage.py export_spend"}


def test_a_terminal_sees_how_far_it_is_and_a_log_nothing(project, owner, tmp_path):
    live(project, owner, PAST)
    terminal, log = Terminal(), io.StringIO()
    run("--output", str(tmp_path / "a.parquet"), "--format", "parquet", stderr=terminal)
    run("--output", str(tmp_path / "b.csv"), stderr=log)
    assert terminal.getvalue().endswith("100% 3 of 3 rows\n") or "100% 3 of 3 rows" in terminal.getvalue()
    assert log.getvalue() == ""


def test_what_breaks_off_leaves_nothing(project, tmp_path, monkeypatch):
    def breaks(*args):
        yield streams.Part(b"half", 1)
        raise OSError("the disk is full")

    monkeypatch.setattr(streams, "parts", breaks)
    with pytest.raises(OSError, match="full"):
        run("--output", str(tmp_path / "a.csv"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--project", "none"], "has no project 'none'"),
        (["--team", "none"], "has no team 'none'"),
        (["--to", "2026-03-01"], "--to is exclusive"),
        (["--organization", "none"], "no organization 'none'"),
        (["--from", "March"], "is no day"),
        (["--output", "/no/such/folder/a.csv"], "cannot be written"),
    ],
)
def test_what_is_not_there_is_said(project, arguments, told):
    with pytest.raises(CommandError, match=told):
        run(*arguments)
