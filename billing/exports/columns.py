"""The columns of an export: what they are called, what is in them, and the SQL that writes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import pyarrow as pa

from billing.csv_files import safe_in_sql


class Kind(Enum):
    """What a column holds."""

    WORD = "word"  # text of Bursar's own choosing, ids too: never a formula
    TEXT = "text"  # text that somebody wrote
    USD = "usd"
    PRICE = "price"  # US dollars per million tokens
    MILLIONS = "millions"  # tokens, in millions
    COUNT = "count"
    INSTANT = "instant"
    FLAG = "flag"


ARROW_TYPES = {
    Kind.WORD: pa.string(),
    Kind.TEXT: pa.string(),
    Kind.USD: pa.decimal128(38, 12),
    Kind.PRICE: pa.decimal128(24, 6),
    Kind.MILLIONS: pa.decimal128(24, 6),
    Kind.COUNT: pa.int64(),
    Kind.INSTANT: pa.timestamp("us", tz="UTC"),
    Kind.FLAG: pa.bool_(),
}
_DECIMALS = {Kind.USD, Kind.PRICE, Kind.MILLIONS}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name in the file, what it holds, and the SQL of its value in a line of the statement's table."""

    name: str
    kind: Kind
    value: str

    def written(self, *, for_spreadsheets: bool) -> str:
        """The SQL of its text in a file; text that is read by spreadsheets is made safe for them."""
        if self.kind is Kind.TEXT and for_spreadsheets:
            return safe_in_sql(f"({self.value})")
        if self.kind in _DECIMALS:
            return f"trim_scale({self.value})"
        if self.kind is Kind.INSTANT:
            moment = f"({self.value}) AT TIME ZONE 'UTC'"
            # Whole seconds are written as such, which is how FOCUS wants its periods.
            return f"""to_char({moment}, 'YYYY-MM-DD"T"HH24:MI:SS') || rtrim(to_char({moment}, '.US'), '.0') || 'Z'"""
        return f"({self.value})::text"


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The columns as Parquet knows them."""
    return pa.schema([(column.name, ARROW_TYPES[column.kind]) for column in columns])
