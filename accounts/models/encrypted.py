"""Fields whose values are encrypted in the table, and plain wherever a model or a query has them."""

from typing import Any

from django.core.exceptions import FieldError
from django.db import models

from accounts.encryption import seal_json, unseal_json


class EncryptedJSONField(models.Field):
    """Any JSON value, encrypted at rest; None is NULL. Nothing can be looked for in it but whether it is there.

    Statements that are written by hand use `sealed` and `opened` at the edge of SQL; the column is a bytea.
    """

    description = "JSON, encrypted at rest"
    empty_strings_allowed = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"editable": False, **kwargs})

    def get_internal_type(self) -> str:
        return "BinaryField"

    @property
    def place(self) -> str:
        """The column that the value belongs to: moved into another one, it cannot be read."""
        return f"{self.model._meta.db_table}.{self.column}"

    def sealed(self, value: Any) -> bytes | None:
        """What the column holds for a value."""
        return None if value is None else seal_json(self.place, value)

    def opened(self, stored: bytes | memoryview | None) -> Any:
        """The value that the column holds. Raises SecretUnreadable."""
        return None if stored is None else unseal_json(self.place, bytes(stored))

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return self.sealed(value)

    def from_db_value(self, value: bytes | None, expression: Any, connection: Any) -> Any:
        return self.opened(value)

    def value_to_string(self, obj: models.Model) -> Any:
        return self.value_from_object(obj)

    def get_lookup(self, lookup_name: str) -> Any:
        if lookup_name != "isnull":
            raise FieldError(f"{self.name} is encrypted: nothing can be looked for in it.")
        return super().get_lookup(lookup_name)

    def get_transform(self, lookup_name: str) -> type[models.Transform] | None:
        return None


class SealedBytesField(models.BinaryField):
    """Bytes that whoever writes them has sealed as a value of this column, and whoever reads them unseals."""


def encrypted(model: type[models.Model], name: str) -> EncryptedJSONField:
    """The encrypted field of this name, for statements that are written by hand."""
    field = model._meta.get_field(name)
    assert isinstance(field, EncryptedJSONField), f"{name} is not encrypted"
    return field
