"""Price files: prices as CSV or JSON, read with every fault named, and written again. Touches no clock or database.

A CSV file has the header `model,service_tier,input_usd_per_million,cached_input_usd_per_million,output_usd_per_million,
effective_from,source` in any order, and `cache_write_usd_per_million` where a price has one; a JSON file is a list of
objects with these names. UTF-8 both.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeVar

from billing.csv_files import FORMULA_STARTS, written
from billing.models.prices import ServiceTier
from billing.money import usd
from billing.pricing import PriceTerms

FIGURES = ("input_usd_per_million", "cached_input_usd_per_million", "output_usd_per_million")
# Few prices have one; a file without the column says that writing to the cache costs what input costs.
CACHE_WRITE = "cache_write_usd_per_million"
REQUIRED = ("model", "service_tier", *FIGURES, "effective_from", "source")
COLUMNS = (*REQUIRED, CACHE_WRITE)
MAX_BYTES = 1024 * 1024
MAX_ROWS = 5_000
MAX_MODEL = 100
MAX_SOURCE = 300
# A dollar a token: whoever writes more has mistaken the unit.
MAX_FIGURE = Decimal(1_000_000)
DECIMALS = 6  # of a price: with a million tokens they make the twelve of an amount
FIRST_DAY, LAST_DAY = date(2020, 1, 1), date(2100, 1, 1)

_PLAIN_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]+)?")
_PLAIN_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")

Key = tuple[str, str, date]
Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One price of a file, and the line that it begins on."""

    model: str
    service_tier: str
    terms: PriceTerms
    effective_from: date
    source: str
    line: int = 0

    @property
    def key(self) -> Key:
        return self.model, self.service_tier, self.effective_from


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at one place of a file, and the way out.

    Line 0 is the file as a whole; without a field it is the whole line.
    """

    line: int
    field: str
    message: str

    def __str__(self) -> str:
        place = f"line {self.line}" if self.line else "the file"
        return f"{place}{f', {self.field}' if self.field else ''}: {self.message}"


class PriceFileFaulty(ValueError):
    """A file that cannot be taken, with everything that is wrong with it."""

    def __init__(self, faults: list[Fault]):
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


def read(content: bytes | str) -> list[PriceRow]:
    """The prices of a file, in its order. Raises PriceFileFaulty with every fault at once.

    JSON where it begins with a bracket or brace, else CSV. At most MAX_BYTES bytes and MAX_ROWS prices.
    """
    text = _text_of(content)
    faults: list[Fault] = []
    records = _json_records(text, faults) if text.lstrip()[:1] in ("[", "{") else _csv_records(text, faults)
    rows: list[PriceRow] = []
    first_lines: dict[Key, int] = {}
    count = 0
    for line, record in records:
        count += 1
        if count > MAX_ROWS:
            faults.append(Fault(line, "", f"a file holds at most {MAX_ROWS:,} prices; split it into several"))
            break
        row, faulty = _row(line, record)
        faults += faulty
        if row is None:
            continue
        earlier = first_lines.setdefault(row.key, len(rows))
        if earlier != len(rows):
            message = f"line {rows[earlier].line} has the same model, service tier and day; keep one of the two"
            faults.append(Fault(line, "effective_from", message))
        rows.append(row)
    if not count and not faults:
        faults.append(Fault(0, "", "it has no prices; put one on each line below the header"))
    if faults:
        raise PriceFileFaulty(sorted(faults, key=lambda fault: fault.line))
    return rows


def write_csv(rows: Iterable[PriceRow]) -> str:
    """The prices as a CSV file that `read` takes: exact figures without needless zeros."""
    return written(
        COLUMNS,
        (
            (
                *(row.model, row.service_tier, row.terms.input, row.terms.cached_input, row.terms.output),
                *(row.effective_from, row.source, "" if row.terms.cache_write is None else row.terms.cache_write),
            )
            for row in rows
        ),
    )


def model_fault(text: str) -> str:
    """What is wrong with a model's name, and the way out; empty where nothing is."""
    if not text:
        return "is missing; write the model's name as the provider does, or a snapshot's"
    if len(text) > MAX_MODEL:
        return f"is longer than {MAX_MODEL} characters; write the model's name alone"
    if not _MODEL.fullmatch(text):
        return (
            f"'{_shown(text)}' is no model's name; it begins with a letter or digit and has no spaces, commas or quotes"
        )
    return ""


def source_fault(text: str) -> str:
    """What is wrong with the words on where a price was read, and the way out; empty where nothing is."""
    if not text:
        return "is missing; say where the price was read, and when"
    if len(text) > MAX_SOURCE:
        return f"is longer than {MAX_SOURCE} characters; shorten it to the page and its date"
    if not text.isprintable():
        return "has a line break or another sign that cannot be printed; write it on one line"
    if text.startswith(FORMULA_STARTS):
        return f"begins with '{text[0]}', which spreadsheets run as a formula; begin it with a word"
    return ""


# --- From text to records ---------------------------------------------------------------------------------------------
Record = Mapping[str, object]


def _text_of(content: bytes | str) -> str:
    size = len(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        message = f"it has {size:,} bytes and may have {MAX_BYTES:,}; split it into several"
        raise PriceFileFaulty([Fault(0, "", message)])
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PriceFileFaulty([Fault(line, "", "is not UTF-8; save the file as 'CSV UTF-8' or as JSON")]) from error


def _csv_records(text: str, faults: list[Fault]) -> Iterator[tuple[int, Record]]:
    """Each line below the header by the names of its columns, with the line that it begins on; blank lines are none."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            begun, line = line, reader.line_num + 1
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if header is None:
                header = cells
                faulty = _header_faults(begun, header)
                faults += faulty
                if faulty:
                    return
            elif len(cells) != len(header):
                message = f"has {len(cells)} fields, the header {len(header)}; put text with a comma in double quotes"
                faults.append(Fault(begun, "", message))
            else:
                yield begun, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        message = f"cannot be read as CSV ({error}); look for a double quote that is not closed, or save it as CSV anew"
        faults.append(Fault(line, "", message))


def _header_faults(line: int, header: list[str]) -> list[Fault]:
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        return [Fault(line, "", "its columns are separated by semicolons or tabs; separate them by commas")]
    unknown = [name for name in dict.fromkeys(header) if name not in COLUMNS]
    return [
        *(Fault(line, name, "the header lacks this column; add it") for name in REQUIRED if name not in header),
        *(
            Fault(line, _shown(name), f"is no column of a price file; they are {', '.join(COLUMNS)}")
            for name in unknown
        ),
        *(
            Fault(line, name, "the header has this column twice; remove one")
            for name in COLUMNS
            if header.count(name) > 1
        ),
    ]


def _json_records(text: str, faults: list[Fault]) -> Iterator[tuple[int, Record]]:
    """Each object of the list with the line that it begins on. Numbers stay the text that they were written as."""
    decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_pairs)
    at, line, seen = _after_space(text, 0), 1, 0
    opening, expected = text[at : at + 1], "a list of objects: [{...}, {...}]"
    if opening != "[":
        faults.append(Fault(1, "", f"is no list; write the prices as {expected}"))
        return
    at = _after_space(text, at + 1)
    try:
        while text[at : at + 1] != "]" or seen:
            line += text.count("\n", seen, at)
            seen = at
            record, at = decoder.raw_decode(text, at)
            if isinstance(record, _Object):
                faults += [
                    Fault(line, _shown(name), "stands twice in this object; remove one") for name in record.twice
                ]
                yield line, record
            else:
                faults.append(Fault(line, "", f"is no object; write the prices as {expected}"))
            at = _after_space(text, at)
            if text[at : at + 1] == "]":
                break
            if text[at : at + 1] != ",":
                raise json.JSONDecodeError("Expecting ',' or ']'", text, at)
            at = _after_space(text, at + 1)
    except json.JSONDecodeError as error:
        faults.append(Fault(error.lineno, "", f"is not JSON ({error.msg}, column {error.colno}); mend it there"))
        return
    except RecursionError:
        faults.append(Fault(line, "", f"is nested too deeply; write the prices as {expected}"))
        return
    rest = _after_space(text, at + 1)
    if rest != len(text):
        faults.append(Fault(text.count("\n", 0, rest) + 1, "", "follows the end of the list; remove it"))


class _Object(dict[str, object]):
    """An object of a JSON file, and which of its names stood there twice."""

    twice: list[str]


def _pairs(pairs: list[tuple[str, object]]) -> _Object:
    found = _Object(pairs)
    found.twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    return found


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


# --- From records to prices -------------------------------------------------------------------------------------------
def _row(line: int, record: Record) -> tuple[PriceRow | None, list[Fault]]:
    """The price that a record says; None where it says none, and then why."""
    texts, faults = _texts(line, record)
    given, cached, output = (_told(_figure, line, name, texts, faults) for name in FIGURES)
    write = _told(_figure, line, CACHE_WRITE, texts, faults) if texts.get(CACHE_WRITE) else None
    model = _told(_sound(model_fault), line, "model", texts, faults)
    tier = _told(_sound(_tier_fault), line, "service_tier", texts, faults)
    source = _told(_sound(source_fault), line, "source", texts, faults)
    day = _told(_day, line, "effective_from", texts, faults)
    if given is not None and cached is not None and cached > given:
        message = f"{usd(cached)} is dearer than the input ({usd(given)}); write the input price where nothing is off"
        faults.append(Fault(line, FIGURES[1], message))
    if faults or model is None or tier is None or source is None or day is None:
        return None, faults
    if given is None or cached is None or output is None:
        return None, faults
    terms = PriceTerms(given, cached, output, None if write == given else write)
    return PriceRow(model, tier, terms, day, source, line), faults


def _texts(line: int, record: Record) -> tuple[dict[str, str], list[Fault]]:
    """Each field as text. The names of a CSV were checked with its header; an object brings its own."""
    faults = [
        Fault(line, _shown(name), f"is no field of a price; they are {', '.join(COLUMNS)}")
        for name in record
        if name not in COLUMNS
    ]
    texts = {}
    for name in COLUMNS:
        value = record.get(name)
        if value is None or isinstance(value, str):
            texts[name] = (value or "").strip()
        else:
            faults.append(Fault(line, name, "is neither text nor a number; write one of the two"))
    return texts, faults


def _told(
    parse: Callable[[str, str], Parsed], line: int, name: str, texts: Mapping[str, str], faults: list[Fault]
) -> Parsed | None:
    """What a field says; None, and its fault noted, where it says nothing. One that is no text was told before."""
    if name not in texts:
        return None
    try:
        return parse(name, texts[name])
    except ValueError as error:
        faults.append(Fault(line, name, str(error)))
        return None


def _sound(fault_of: Callable[[str], str]) -> Callable[[str, str], str]:
    def parse(name: str, text: str) -> str:
        message = fault_of(text)
        if message:
            raise ValueError(message)
        return text

    return parse


def _tier_fault(text: str) -> str:
    if text in ServiceTier.values:
        return ""
    known = ", ".join(ServiceTier.values)
    return f"'{_shown(text)}' is no service tier; write one of {known}" if text else f"is missing; write one of {known}"


def _figure(name: str, text: str) -> Decimal:
    """US dollars per million tokens. Raises ValueError where the text says none."""
    if not text and name == "cached_input_usd_per_million":
        raise ValueError("is missing; write the input price where the provider takes nothing off")
    if not text:
        raise ValueError("is missing; write US dollars per million tokens, such as 2.50")
    if not _PLAIN_NUMBER.fullmatch(text):
        way_out = "write digits and a point, such as 2.50, without sign or exponent"
        raise ValueError(f"'{_shown(text)}' is no plain number; {way_out}")
    if len(text.partition(".")[2].rstrip("0")) > DECIMALS:
        raise ValueError(f"'{_shown(text)}' has more than six decimals; write US dollars per million tokens")
    if Decimal(text) > MAX_FIGURE:
        raise ValueError(f"'{_shown(text)}' is more than a dollar a token; write US dollars per million tokens")
    return Decimal(text)


def _day(name: str, text: str) -> date:
    """The first day of a price. Raises ValueError where the text says none."""
    if not text:
        raise ValueError("is missing; write a day as 2026-11-22")
    if not _PLAIN_DAY.fullmatch(text):
        raise ValueError(f"'{_shown(text)}' is no day; write it as 2026-11-22")
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"'{text}' is not in the calendar; write a day as 2026-11-22") from error
    if not FIRST_DAY <= day < LAST_DAY:
        raise ValueError(f"{text} lies outside {FIRST_DAY} to {LAST_DAY}; look at the year")
    return day


def _shown(text: str) -> str:
    """The beginning of what somebody wrote, fit to be printed."""
    return "".join(sign if sign.isprintable() else "?" for sign in text[:40])
