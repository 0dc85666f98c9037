"""Exports of many rows: how long each format takes, and how much memory the process takes for it.

BENCH_EXPORT_RECORDS says how many usage records there are, in a year of one organization. FOCUS has a row for each
hour, owner, price and meter, which here are nearly four to a record: it is exported for a quarter of the year.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from billing.clock import database_now
from billing.exports import focus, streams
from billing.exports.selection import Selection
from billing.exports.streams import Format
from tests.benchmarks import generated

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True, serialized_rollback=True)]

RECORDS = int(os.environ.get("BENCH_EXPORT_RECORDS", "1000000"))


@dataclass
class Memory:
    """The resident memory of this process, in bytes, while somebody looks."""

    before: int = 0
    peak: int = 0


@pytest.mark.timeout(0)
def test_exports(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "ORGANIZATIONS", 1)
    (organization,) = generated.generate(RECORDS)
    day = database_now().date() + timedelta(days=1)
    with capsys.disabled():
        print(f"\n{'format':<16}{'rows':>12}{'seconds':>10}{'of CPU':>10}{'MiB':>8}{'RSS before':>12}{'RSS peak':>10}")
        for form in Format:
            days = 95 if form.rows is focus else 400
            selection = Selection(organization, day - timedelta(days=days), day)
            path = tmp_path / form.value
            begin, worked = time.perf_counter(), processor_seconds()
            rows = 0
            with looked_at() as memory, path.open("wb") as file:
                for part in streams.parts(selection, form):
                    file.write(part.content)
                    rows += part.rows
            seconds = time.perf_counter() - begin
            worked = processor_seconds() - worked
            size = path.stat().st_size >> 20
            told = f"{form.value:<16}{rows:>12,}{seconds:>10.1f}{worked:>10.1f}{size:>8,}"
            print(f"{told}{memory.before >> 20:>12,}{memory.peak >> 20:>10,}", flush=True)


@contextmanager
def looked_at() -> Iterator[Memory]:
    """Looks at the memory ten times a second."""
    memory = Memory(resident())
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            memory.peak = max(memory.peak, resident())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join()
        memory.peak = max(memory.peak, resident())


def processor_seconds() -> float:
    """Of this process and of the server's that works for it, where both are on one machine."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    stat = Path(f"/proc/{pid}/stat")
    ticks = sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13])) if stat.exists() else 0
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
