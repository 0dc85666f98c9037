"""How long processors work for something: here, and in the backend of PostgreSQL that serves this connection."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connection


def microseconds(work: Callable[[], Any]) -> tuple[float, float]:
    """The microseconds that `work` takes of this process and of the backend; the latter 0 where the system hides them.

    The backend's come in ticks of a hundredth of a second.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    here, there = time.process_time(), _of_process(pid)
    work()
    return (time.process_time() - here) * 1e6, _of_process(pid) - there


def _of_process(pid: int) -> float:
    """The microseconds of a process so far, by Linux's /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) * 1e6 / os.sysconf("SC_CLK_TCK")
