"""Looks at every line of a batch before the first one runs, and reports all that is wrong with the file at once."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from django.conf import settings

from accounts.errors import DomainError
from billing.clock import nearly_now
from jobs.batches.checking import Checker
from jobs.batches.lines import LineFault, RawLine, Request, raw_lines, read_request
from jobs.batches.moving import move_batch
from jobs.batches.noting import delete_some
from jobs.batches.states import BatchStatus
from jobs.models import Batch, BatchLine

MOST_LINES = 50_000
# Faults that one report holds; who has more than that has made the same mistake in each line.
MOST_FAULTS = 100
# How much of a file one step reads, whichever comes first.
LINES_AT_ONCE = 500
BYTES_AT_ONCE = 4 * 1024 * 1024

Fault = dict[str, Any]


def validate(batch: Batch) -> bool:
    """Validates some more lines; whether there is more to do at once. Runs in the caller's transaction."""
    if _is_hopeless(batch):
        _conclude(batch)
        return True
    lines = _some(batch)
    judge = _Judge(batch, [(line, _read(line)) for line in lines if not line.is_empty])
    for line in lines:
        batch.read_lines += 1
        batch.read_bytes = line.next_position
        judge.look_at(line)
        if _is_hopeless(batch):
            break
    BatchLine.objects.bulk_create(judge.rows)
    batch.save(update_fields=["errors", "model", "total", "read_bytes", "read_lines"])
    if not lines or _is_hopeless(batch):
        _conclude(batch)
    return True


def _is_hopeless(batch: Batch) -> bool:
    return len(batch.errors) >= MOST_FAULTS or batch.total > MOST_LINES


def _some(batch: Batch) -> list[RawLine]:
    """The lines of one step."""
    found, size = [], 0
    for line in islice(raw_lines(batch.input_file, batch.read_bytes, longest=longest_line()), LINES_AT_ONCE):
        found.append(line)
        size += line.length
        if size >= BYTES_AT_ONCE:
            break
    return found


def longest_line() -> int:
    """Bytes that a request of a batch may have: as many as one that is sent by itself."""
    return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def _read(line: RawLine) -> Request | DomainError:
    try:
        if line.text is not None:
            return read_request(line.text)
    except DomainError as error:
        return error
    message = f"This line has {line.length:,} bytes; one request may have {longest_line():,}."
    return LineFault(message, code="line_too_long")


class _Judge:
    """Judges the lines of a step one after the other, and gathers the rows of the good ones."""

    def __init__(self, batch: Batch, read: Iterable[tuple[RawLine, Request | DomainError]]):
        self.batch = batch
        self.rows: list[BatchLine] = []
        self._read = {line.position: found for line, found in read}
        ids = [found.custom_id for found in self._read.values() if isinstance(found, Request)]
        self._taken = set(batch.lines.filter(custom_id__in=ids).values_list("custom_id", flat=True))
        self._checker = Checker(batch.project, nearly_now())

    def look_at(self, line: RawLine) -> None:
        batch, found = self.batch, self._read.get(line.position)
        if found is None:
            return
        batch.total += 1
        try:
            if isinstance(found, DomainError):
                raise found
            self._accept(line, found)
        except DomainError as error:
            param = error.param if isinstance(error, LineFault) or error.param is None else f"body.{error.param}"
            batch.errors.append(fault(error.code, error.message, param, batch.read_lines))

    def _accept(self, line: RawLine, request: Request) -> None:
        batch = self.batch
        if request.custom_id in self._taken:
            message = f"The custom_id '{request.custom_id[:64]}' stands in an earlier line of this file as well."
            raise LineFault(message, code="duplicate_custom_id", param="custom_id")
        self._taken.add(request.custom_id)
        batch.model = batch.model or request.prompt.model[:100]
        if request.prompt.model != batch.model:
            message = f"All lines of a batch ask the same model; the first one of this file asks '{batch.model}'."
            raise LineFault(message, code="mismatched_model", param="body.model")
        self._checker.check(request.prompt)
        self.rows.append(
            BatchLine(
                batch=batch,
                number=batch.read_lines,
                custom_id=request.custom_id,
                position=line.position,
                length=line.length,
            )
        )


def _conclude(batch: Batch) -> None:
    """At the end of the file, or where looking on would tell nobody anything; comes again while lines are left of a
    batch that has failed.
    """
    if batch.total > MOST_LINES:
        message = f"The file holds more than {MOST_LINES:,} requests. Split it into several."
        batch.errors = [fault("too_many_requests", message, None, batch.read_lines)]
    elif not batch.total:
        batch.errors = [fault("empty_file", "The file holds no request.", None, None)]
    if not batch.errors:
        move_batch(batch.pk, to=BatchStatus.IN_PROGRESS, come_from=[BatchStatus.VALIDATING])
        return
    if not delete_some(batch):
        move_batch(batch.pk, to=BatchStatus.FAILED, come_from=[BatchStatus.VALIDATING], errors=batch.errors, total=0)


def fault(code: str, message: str, param: str | None, line: int | None) -> Fault:
    """One entry of the report, as the provider has it."""
    return {"code": code, "message": message, "param": param, "line": line}
