"""Which buckets of time a query asks for, in the provider's parameters, and page by page.

A bucket is always whole: `start_time` is taken down to the beginning of its bucket and `end_time` up to the end of its,
so that whoever stores buckets by their beginning never replaces a whole one by a part.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

from billing.clock import database_now

SECONDS = {"1m": 60, "1h": 3600, "1d": 86_400}
# Later ones no calendar of Python has.
LAST_SECOND = 253_402_300_799
_PAGE = "page_"
_SINGLE = ("start_time", "end_time", "bucket_width", "limit", "page")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a route takes: buckets of a page by width, unless asked for and at most; groupings and filters.

    `texts` are lists whose values may have commas in them.
    """

    pages: Mapping[str, tuple[int, int]]
    groupings: Sequence[str]
    lists: Sequence[str]
    texts: Sequence[str] = ()
    flags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """The buckets of one page: from `start` up to `page_end`, seconds of UTC; `end` is that of the last page."""

    start: int
    page_end: int
    end: int
    width: int
    group_by: tuple[str, ...]
    lists: Mapping[str, Sequence[str]]
    flags: Mapping[str, bool]

    @property
    def starts(self) -> range:
        """The first second of each bucket of the page."""
        return range(self.start, self.page_end, self.width)

    @property
    def begin(self) -> datetime:
        return datetime.fromtimestamp(self.start, UTC)

    @property
    def until(self) -> datetime:
        return datetime.fromtimestamp(self.page_end, UTC)

    def answer(self, results: Mapping[int, list[dict[str, Any]]]) -> dict[str, Any]:
        """The page as the provider has it, with the results of each bucket by its first second."""
        data = [
            {
                "object": "bucket",
                "start_time": start,
                "end_time": start + self.width,
                "results": results.get(start, []),
            }
            for start in self.starts
        ]
        more = self.page_end < self.end
        following = _PAGE + base64.urlsafe_b64encode(str(self.page_end).encode()).decode().rstrip("=") if more else None
        return {"object": "page", "data": data, "has_more": more, "next_page": following}


def read(request: Request, terms: Terms) -> Asked:
    """The query, checked. Raises ValidationError; a name that nobody reads would be a filter that shows everything."""
    given: dict[str, list[str]] = {}
    for name, values in request.query_params.lists():
        # A list is `name[]=` as the official client writes it, `name=` repeated, or with commas.
        given.setdefault(name.removesuffix("[]"), []).extend(values)
    for name in given:
        if name not in {*_SINGLE, *terms.flags, "group_by", *terms.lists, *terms.texts}:
            raise _wrong(name, f"Unrecognized request argument supplied: {name}", "unknown_parameter")
        if name in {*_SINGLE, *terms.flags} and len(given[name]) > 1:
            raise _wrong(name, "Send this parameter once.", "repeated_parameter")
    lists = {name: _parts(given[name]) for name in terms.lists if name in given}
    lists |= {name: given[name] for name in terms.texts if name in given}
    group_by = tuple(dict.fromkeys(_parts(given.get("group_by", []))))
    for name in group_by:
        if name not in terms.groupings:
            raise _unsupported("group_by", name, terms.groupings)
    flags = {name: _flag(given[name][0], name) for name in terms.flags if name in given}
    start, page_end, end, width = _span({name: given[name][0] for name in _SINGLE if name in given}, terms)
    return Asked(start, page_end, end, width, group_by, lists, flags)


def _span(given: Mapping[str, str], terms: Terms) -> tuple[int, int, int, int]:
    """The first second of the page and that after its last, that after the last page, and the width of a bucket."""
    width_name = given.get("bucket_width", "1d")
    if width_name not in terms.pages:
        raise _unsupported("bucket_width", width_name, list(terms.pages))
    width = SECONDS[width_name]
    if "start_time" not in given:
        raise _wrong("start_time", "Missing required parameter: 'start_time'.", "missing_required_parameter")
    default, most = terms.pages[width_name]
    limit = _whole(given["limit"], "limit") if "limit" in given else default
    if not 1 <= limit <= most:
        raise _wrong("limit", f"This is between 1 and {most} with buckets of {width_name}.", "integer_out_of_range")
    start = _down(_whole(given["start_time"], "start_time"), width)
    end_time = _whole(given["end_time"], "end_time") if "end_time" in given else int(database_now().timestamp()) + 1
    end = -_down(-end_time, width)
    if start >= end:
        raise _wrong("end_time", "This comes after start_time, and is exclusive.", "invalid_value")
    if "page" in given:
        page_start = _start_of(given["page"])
        if page_start % width or not start <= page_start < end:
            raise _no_page()
        start = page_start
    return start, min(start + limit * width, end), end, width


def uuids(texts: Sequence[str]) -> list[UUID]:
    """Those of the texts that are ids; what is none names nothing that there is."""
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


def whole_numbers(texts: Sequence[str]) -> list[int]:
    """Those of the texts that are ids of people."""
    return [int(text) for text in texts if text.isascii() and text.isdecimal() and len(text) <= 18]


def _parts(values: Sequence[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _down(second: int, width: int) -> int:
    return second - second % width


def _whole(text: str, name: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 12 or int(text) > LAST_SECOND:
        raise _wrong(name, f"Invalid type for '{name}': expected an integer.", "invalid_type")
    return int(text)


def _flag(text: str, name: str) -> bool:
    if text not in {"true", "false"}:
        raise _wrong(name, f"Invalid type for '{name}': expected a boolean.", "invalid_type")
    return text == "true"


def _start_of(page: str) -> int:
    """The first second of a page. Raises ValidationError for one that was not given out."""
    text = page.removeprefix(_PAGE)
    try:
        second = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except (ValueError, binascii.Error) as error:
        raise _no_page() from error
    return _whole(second, "page")


def _no_page() -> ValidationError:
    return _wrong("page", "This is `next_page` of an earlier answer to the same query.", "invalid_value")


def _unsupported(name: str, value: str, known: Sequence[str]) -> ValidationError:
    return _wrong(name, f"Invalid value: '{value}'. Supported values are: {', '.join(known)}.", "invalid_value")


def _wrong(name: str, message: str, code: str) -> ValidationError:
    return ValidationError({name: [ErrorDetail(message, code=code)]})
