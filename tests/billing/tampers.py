"""What whoever owns the database can do to the books behind the door; columns are taken from the models."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, models

from billing import books
from billing.chain import GENESIS, seal
from billing.models import Book, Budget, Hold, LedgerEntry, Reservation, SpendRollup, UsageRecord

# The lines of the ledger come up most often: they are the truth that everything else is held against.
TABLES: dict[type[models.Model], int] = {
    LedgerEntry: 8,
    UsageRecord: 4,
    Reservation: 3,
    Hold: 1,
    Budget: 2,
    SpendRollup: 2,
    Book: 1,
}
MONEY_OF_A_LINE = ("held_change_usd", "spent_change_usd")


class NothingToDo(Exception):
    """This tamper changes nothing on what the dice chose; another is to be drawn."""


@dataclass(frozen=True)
class Tampered:
    """What was done: its kind, for the list of what is known to go unfound, and where, to see it again."""

    kind: str
    detail: str


Tamper = Callable[[random.Random], Tampered]


def tamper(dice: random.Random, do: Tamper | None = None) -> Tampered:
    """Does one thing to the books, or this one, with every trigger asleep. Raises NothingToDo."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
    (chosen,) = [do] if do else dice.choices(list(TAMPERS), weights=list(TAMPERS.values()))
    done = chosen(dice)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = DEFAULT")
    return done


def change_column(
    dice: random.Random, model: type[models.Model] | None = None, field: models.Field | None = None
) -> Tampered:
    """Any column of any row: another value of its type, of its choices, of another row, or none."""
    model = model or _any_table(dice)
    field = field or dice.choice(model._meta.concrete_fields)
    row = _any_row(dice, model)
    old = getattr(row, field.attname)
    new = _another(dice, model, field, old)
    if new == old:
        raise NothingToDo
    _update(model, row.pk, **{field.column: new})
    return Tampered(f"change {model.__name__}.{field.name}", f"{row.pk}: {old!r} -> {new!r}")


def delete_row(dice: random.Random) -> Tampered:
    model = _any_table(dice)
    row = _any_row(dice, model)
    _execute(f"DELETE FROM {model._meta.db_table} WHERE {model._meta.pk.column} = %s", row.pk)
    return Tampered(f"delete {model.__name__}", str(row.pk))


def copy_row(dice: random.Random) -> Tampered:
    """A row once more under a key of its own, as it is or with one column changed."""
    model = _any_table(dice, without=(Book,))
    row = _any_row(dice, model)
    values = {field.column: getattr(row, field.attname) for field in model._meta.concrete_fields}
    key = model._meta.pk
    values[key.column] = uuid4() if isinstance(key, models.UUIDField) else row.pk + 10_000_000
    if dice.random() < 0.5:
        field = dice.choice([field for field in model._meta.concrete_fields if not field.primary_key])
        values[field.column] = _another(dice, model, field, values[field.column])
    _insert(model, values)
    return Tampered(f"copy {model.__name__}", str(row.pk))


def swap_column(dice: random.Random) -> Tampered:
    """The values of one column of two rows of one organization, exchanged: every sum stays what it was."""
    model = _any_table(dice, without=(Book,))
    field = dice.choice([field for field in model._meta.concrete_fields if not field.primary_key])
    one, other = _any_row(dice, model), _any_row(dice, model)
    first, second = getattr(one, field.attname), getattr(other, field.attname)
    if first == second:
        raise NothingToDo
    _update(model, one.pk, **{field.column: second})
    _update(model, other.pk, **{field.column: first})
    return Tampered(f"swap {model.__name__}.{field.name}", f"{one.pk}, {other.pk}")


def delete_line_and_close_the_gap(dice: random.Random) -> Tampered:
    """A line is gone, those after it move up, and the head counts one less; the seals stay."""
    line = _any_row(dice, LedgerEntry)
    _execute("DELETE FROM billing_ledgerentry WHERE id = %s", line.pk)
    _shift(line.organization_id, line.sequence, -1)
    return Tampered("delete a line and close the gap", f"line {line.sequence}")


def insert_forged_line(dice: random.Random) -> Tampered:
    """A line that never was, at any place, the rest moved down; sealed as well as anyone can."""
    like = _any_row(dice, LedgerEntry)
    place = dice.randint(1, _head(like.organization_id).head_sequence + 1)
    values = {field.column: getattr(like, field.attname) for field in LedgerEntry._meta.concrete_fields}
    values |= {"id": like.pk + 10_000_000, "sequence": place}
    values["spent_change_usd"] += _cents(dice)
    _shift(like.organization_id, place - 1, +1)
    _insert(LedgerEntry, values)
    if dice.random() < 0.5:
        seal_anew(like.organization_id)
        return Tampered("insert a forged line and seal the book anew", f"line {place}")
    return Tampered("insert a forged line", f"line {place}")


def swap_places(dice: random.Random) -> Tampered:
    """Two lines of one book exchange their places, with or without their seals."""
    one, other = _any_row(dice, LedgerEntry), _any_row(dice, LedgerEntry)
    if one.organization_id != other.organization_id or one == other:
        raise NothingToDo
    columns = ("sequence", "seal") if dice.random() < 0.5 else ("sequence",)
    for row, place in ((one, other), (other, one)):
        _update(LedgerEntry, row.pk, **{name: getattr(place, name) for name in columns})
    return Tampered("swap places", f"lines {one.sequence} and {other.sequence}, {columns}")


def cut_the_tail(dice: random.Random) -> Tampered:
    """Lines are cut off the end; the head is left alone, or says that the book ends there."""
    book = _any_row(dice, Book)
    last = dice.randint(0, book.head_sequence - 1)
    _execute("DELETE FROM billing_ledgerentry WHERE organization_id = %s AND sequence > %s", book.pk, last)
    if dice.random() < 0.5:
        return Tampered("cut the tail", f"after line {last} of {book.head_sequence}")
    tail = LedgerEntry.objects.filter(organization_id=book.pk, sequence=last).first()
    _update(Book, book.pk, head_sequence=last, head_seal=tail.seal if tail else GENESIS)
    return Tampered("cut the tail and set the head back", f"after line {last} of {book.head_sequence}")


def change_money_and_seal_anew(dice: random.Random) -> Tampered:
    """An amount of a line, its kind or its reservation, and every seal after it computed as Bursar computes it."""
    line = _any_row(dice, LedgerEntry)
    name = dice.choice([*MONEY_OF_A_LINE, "kind", "reservation", "window_start", "project"])
    field = LedgerEntry._meta.get_field(name)
    old = getattr(line, field.attname)
    new = _another(dice, LedgerEntry, field, old)
    if new == old:
        raise NothingToDo
    _update(LedgerEntry, line.pk, **{field.column: new})
    seal_anew(line.organization_id)
    return Tampered(f"change LedgerEntry.{name} and seal the book anew", f"line {line.sequence}: {old!r} -> {new!r}")


def seal_anew(organization_id: UUID) -> None:
    """The whole chain and its head, as whoever knows the code can make them."""
    previous, sequence = GENESIS, 0
    for entry in LedgerEntry.objects.filter(organization_id=organization_id).order_by("sequence"):
        sequence += 1
        # What the columns hold may not be what the fields expect; such a line keeps its seal, and is found.
        previous = seal(books.line_of(entry), previous)
        _update(LedgerEntry, entry.pk, seal=previous, sequence=sequence)
    _update(Book, organization_id, head_sequence=sequence, head_seal=previous)


TAMPERS: dict[Tamper, int] = {
    change_column: 60,
    delete_row: 8,
    copy_row: 6,
    swap_column: 8,
    delete_line_and_close_the_gap: 4,
    insert_forged_line: 4,
    swap_places: 4,
    cut_the_tail: 8,
    change_money_and_seal_anew: 4,
}


# --- Choosing ---------------------------------------------------------------------------------------------------------
def _any_table(dice: random.Random, without: tuple[type[models.Model], ...] = ()) -> type[models.Model]:
    tables = {model: weight for model, weight in TABLES.items() if model not in without}
    return dice.choices(list(tables), weights=list(tables.values()))[0]


def _any_row(dice: random.Random, model: type[models.Model]) -> Any:
    keys = sorted(model._default_manager.values_list("pk", flat=True), key=str)
    return model._default_manager.get(pk=dice.choice(keys))


def _head(organization_id: UUID) -> Book:
    return Book.objects.get(pk=organization_id)


def _cents(dice: random.Random) -> Decimal:
    """Never zero; from the last digit that an amount has to a few dollars."""
    return Decimal(dice.choice((-1, 1)) * dice.randint(1, 10 ** dice.randint(1, 12))).scaleb(-12)


def _another(dice: random.Random, model: type[models.Model], field: models.Field, old: Any) -> Any:
    """Another value for a column: none where it may be empty, another row's, or one made up."""
    choice = dice.random()
    if field.null and old is not None and choice < 0.2:
        return None
    if field.is_relation or choice < 0.3:
        target = field.related_model._default_manager if field.is_relation else model._default_manager
        name = "pk" if field.is_relation else field.attname
        others = sorted({value for value in target.values_list(name, flat=True) if value not in (old, None)}, key=str)
        if others and choice < 0.9:
            return dice.choice(others)
    return _made_up(dice, field, old)


def _made_up(dice: random.Random, field: models.Field, old: Any) -> Any:
    target = field.target_field if field.is_relation else field
    match target:
        case models.UUIDField():
            return UUID(int=dice.getrandbits(128), version=4)
        case models.DecimalField():
            return dice.choice([(old or Decimal(0)) + _cents(dice), -old if old else Decimal(1)])
        case models.IntegerField():
            return (old or 0) + dice.choice([-1, 1, dice.randint(1, 10**6)])
        case models.BooleanField():
            return not old
        case models.DateTimeField():
            return (old or datetime.fromisoformat("2024-09-12T00:00:00Z")) + _while(dice)
        case models.DateField():
            return old + timedelta(days=dice.choice([-1, 1]) * dice.randint(1, 60))
        case models.CharField() if field.choices:
            return dice.choice([value for value, _ in field.choices if value != old])
        case models.CharField():
            return (old[:-1] + dice.choice("0123456789abcdef")) if old and dice.random() < 0.5 else f"{old}x"[-255:]
    raise AssertionError(f"no other value is known for {field}")


def _while(dice: random.Random) -> timedelta:
    step = dice.choice([timedelta(microseconds=1), timedelta(seconds=1), timedelta(days=1), timedelta(days=31)])
    return step * dice.choice([-1, 1])


# --- Doing ------------------------------------------------------------------------------------------------------------
def _execute(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def _update(model: type[models.Model], key: Any, /, **values: Any) -> None:
    columns = ", ".join(f'"{name}" = %s' for name in values)
    _execute(f"UPDATE {model._meta.db_table} SET {columns} WHERE {model._meta.pk.column} = %s", *values.values(), key)


def _insert(model: type[models.Model], values: dict[str, Any]) -> None:
    columns, places = ", ".join(f'"{name}"' for name in values), ", ".join(["%s"] * len(values))
    _execute(f"INSERT INTO {model._meta.db_table} ({columns}) VALUES ({places})", *values.values())


def _shift(organization_id: UUID, after: int, by: int) -> None:
    """Moves the lines after a place, and the head with them."""
    _execute(
        "UPDATE billing_ledgerentry SET sequence = sequence + %s WHERE organization_id = %s AND sequence > %s",
        by,
        organization_id,
        after,
    )
    book = _head(organization_id)
    last = LedgerEntry.objects.filter(organization_id=organization_id).order_by("sequence").last()
    _update(Book, organization_id, head_sequence=book.head_sequence + by, head_seal=last.seal if last else GENESIS)
