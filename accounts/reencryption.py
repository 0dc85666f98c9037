"""After a change of keys: every encrypted value is written anew with the newest, in batches, while everything runs."""

from django.apps import apps
from django.db import connection, models, transaction

from accounts.encryption import newest_head, seal, unseal
from accounts.models.encrypted import EncryptedJSONField, SealedBytesField
from accounts.secrets import decrypt, encrypt

BATCH = 500
# Pieces of files are large: 8 MB of them at a time.
BATCH_OF_PIECES = 32
_CONTENT = (EncryptedJSONField, SealedBytesField)
# Text fields whose names begin so hold tokens of `accounts.secrets`.
OF_SECRETS = "encrypted_"


def reencrypt() -> dict[str, int]:
    """How many values of each column were written anew. Raises SecretUnreadable for one that no known key reads."""
    return {
        f"{model._meta.db_table}.{field.column}": _column(model, field)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, _CONTENT) or field.name.startswith(OF_SECRETS)
    }


def _column(model: type[models.Model], field: "models.Field[object, object]") -> int:
    """Content says by which key it was made, so that only older values are read; secrets are few, and all are."""
    is_content = isinstance(field, _CONTENT)
    batch = BATCH_OF_PIECES if isinstance(field, SealedBytesField) else BATCH
    table, key, column = model._meta.db_table, model._meta.pk.column, field.column
    older = f"substring({column} FROM 1 FOR {len(newest_head())}) <> %s" if is_content else f"{column} <> ''"
    done, after = 0, None
    while True:
        beyond = f"AND {key} > %s" if after is not None else ""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {key}, {column} FROM {table} WHERE {column} IS NOT NULL AND {older} {beyond} "  # noqa: S608
                f"ORDER BY {key} LIMIT {batch} FOR UPDATE",
                [*([newest_head()] if is_content else []), *([after] if after is not None else [])],
            )
            rows = cursor.fetchall()
            place = f"{table}.{column}"
            changed = [
                (seal(place, unseal(place, bytes(value))) if is_content else encrypt(decrypt(value)), pk)
                for pk, value in rows
            ]
            if changed:
                cursor.executemany(f"UPDATE {table} SET {column} = %s WHERE {key} = %s", changed)  # noqa: S608
        if not rows:
            return done
        done, after = done + len(rows), rows[-1][0]
