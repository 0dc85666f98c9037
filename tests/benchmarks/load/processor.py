"""What processes have used, from /proc: no agent inside them, so nothing of it is measured."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024


def seconds(pid: int) -> float:
    """Processor time of a process and all that ever descended from it; 0 for one that is gone.

    Descendants that have ended are in the time of whoever waited for them.
    """
    total = 0.0
    for member in family(pid):
        fields = _stat(member)
        total += sum(int(field) for field in fields[11:15]) / _TICKS if fields else 0.0
    return total


def resident_kib(pid: int) -> float:
    """Memory that a process holds, without its children."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KIB


def family(root: int) -> list[int]:
    """The process and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, to_visit = [], [root]
    while to_visit:
        found.append(to_visit.pop())
        to_visit += children.get(found[-1], [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields behind the name; none when the process has just ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
