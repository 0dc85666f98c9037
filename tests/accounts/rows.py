"""What a table really holds, past Django's fields."""

from typing import Any

from django.db import connection
from django.db.models import Model


def text_of(model: type[Model], pk: Any) -> str:
    """Every column of a row, as PostgreSQL writes it."""
    with connection.cursor() as cursor:
        table = connection.ops.quote_name(model._meta.db_table)
        cursor.execute(f"SELECT to_jsonb(t)::text FROM {table} t WHERE {model._meta.pk.column} = %s", [pk])
        (text,) = cursor.fetchone()
    return str(text)
