"""What PostgreSQL reads to answer: the scans in the plans of all the SELECTs that a piece of work sends."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext


@dataclass(frozen=True)
class Scan:
    """One table read in one plan: how, and how many rows, those that a filter then took away included."""

    table: str
    kind: str
    rows: int
    filtered: int
    sql: str


def scans_of(work: Callable[[], object]) -> list[Scan]:
    """Every scan of every SELECT that `work` sends, each carried out once more to see what it reads."""
    with CaptureQueriesContext(connection) as captured:
        work()
    found = []
    for query in captured:
        if query["sql"].startswith("SELECT"):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query['sql']}".replace("%", "%%"), [])
                (answer,) = cursor.fetchone()
            plan = json.loads(answer) if isinstance(answer, str) else answer
            found += [_scan(node, query["sql"]) for node in _nodes(plan[0]["Plan"]) if "Relation Name" in node]
    return found


def _scan(node: dict[str, Any], sql: str) -> Scan:
    loops = node["Actual Loops"]
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return Scan(
        node["Relation Name"],
        node["Node Type"],
        round((node["Actual Rows"] + removed) * loops),
        round(removed * loops),
        sql,
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)
