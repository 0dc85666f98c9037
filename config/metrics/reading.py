"""Asking PostgreSQL for figures."""

from typing import Any

from django.db import connection

Row = tuple[Any, ...]


def rows(query: str, parameters: Any) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        found: list[Row] = cursor.fetchall()
    return found
