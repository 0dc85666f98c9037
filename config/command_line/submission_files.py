"""`bursar submit --jsonl`: every line of a file as a job, and the answers in another, which a later run goes on with.

What makes a second run harmless:
1. A line's idempotency key is made of its text (and of --run), so that Bursar gives the same job for the same line.
2. What was submitted stands in a journal beside the output (`FILE.jobs`) until everything has ended, for runs that go
   on after Bursar has forgotten the keys.
3. What has ended stands in the output, and is neither asked for nor written again.
"""

import hashlib
import json
import os
import sys
from argparse import Namespace
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple

from config.command_line.api import Api, connect
from config.command_line.endings import CommandError, Ending, Interrupted, Refused, UsageError
from config.command_line.terminal import Terminal
from config.command_line.waiting import FINAL, Tally, Waiting

# Beyond these a line is not to blame: the key is wrong, or nobody answers.
_ONLY_THIS_LINE = frozenset({Ending.FAILED, Ending.LIMIT, Ending.NOT_FOUND})
THROTTLED = 429


class Line(NamedTuple):
    """A job to be submitted."""

    number: int
    key: str
    body: dict[str, Any]
    custom_id: str | None


def run(options: Namespace, terminal: Terminal, defaults: dict[str, Any]) -> int:
    """0 where every job was taken and, if they were waited for, has succeeded."""
    lines = list(read(options.jsonl, defaults, options.run))
    waits = (terminal.is_terminal or bool(options.output)) if options.wait is None else options.wait
    results = Results(options.output, {line.key for line in lines}, terminal)
    tally = Tally(terminal, len(lines))
    for job in results.ended.values():
        tally.note(job)
    if results.ended:
        terminal.say(f"{len(results.ended)} of {len(lines)} lines have ended before; going on with the others.")
    with connect(options, terminal) as api, ThreadPoolExecutor(options.parallel) as pool, results:
        try:
            _Run(api, pool, results, tally, terminal, waits=waits).all(
                [line for line in lines if line.key not in results.ended], options.parallel
            )
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            how = "the same command" if options.output else "bursar watch, or with the same command"
            raise Interrupted(f"Stopped; {tally.sent} jobs were submitted and go on. Go on with {how}.") from None
        except CommandError:
            terminal.warn(f"bursar: {tally.done} of {len(lines)} lines are done; go on later with the same command.")
            raise
    terminal.clear()
    if waits or tally.refused:
        tally.tell()
    if not waits:
        terminal.say(f"{tally.sent} jobs were submitted. Wait for them: bursar watch")
        return Ending.FAILED if tally.refused else Ending.OK
    return tally.ending


class _Run:
    """Submits some lines, looks at some jobs, and so on until nothing is left."""

    def __init__(
        self, api: Api, pool: ThreadPoolExecutor, results: "Results", tally: Tally, terminal: Terminal, *, waits: bool
    ):
        self._api, self._pool, self._results, self._tally = api, pool, results, tally
        self._terminal, self._waits = terminal, waits
        self._pending = Waiting(api, [], pool)
        self._lines: dict[str, list[Line]] = {}

    def all(self, lines: list[Line], at_once: int) -> None:
        """Every line, and where they are waited for, every job. Raises CommandError."""
        left = deque(lines)
        while left or self._pending:
            some = [left.popleft() for _ in range(min(4 * at_once, len(left)))]
            turned_away = []
            for line, job in zip(some, self._pool.map(self._submit, some), strict=True):
                if self._pending and isinstance(job, Refused) and job.status == THROTTLED:
                    turned_away.append(line)  # there is room again when some of ours have ended
                else:
                    self._taken(line, job)
            left.extend(turned_away)
            self._tally.show()
            ended = self._pending.look() if self._pending else []
            for job in ended:
                self._ended(job)
            self._tally.show()
            if self._pending and not ended and len(turned_away) == len(some):
                self._pending.rest()

    def _submit(self, line: Line) -> dict[str, Any] | Refused:
        """The job of a line; why it was refused."""
        known = self._results.submitted.get(line.key)
        if known is not None:
            return {"id": known, "status": "queued"}
        try:
            job: dict[str, Any] = self._api.post("jobs", line.body, key=line.key)
        except Refused as refused:
            if refused.ending not in _ONLY_THIS_LINE:
                raise
            return refused
        return job

    def _taken(self, line: Line, job: dict[str, Any] | Refused) -> None:
        if isinstance(job, Refused):
            self._tally.refused += 1
            self._results.write(line, None, {"status": job.status, **job.problem})
            self._terminal.warn(f"bursar: line {line.number} was refused: {job}")
            return
        self._tally.sent += 1
        self._results.note(line, job["id"])
        if not self._waits:
            self._results.write(line, job, None)
            return
        waiting = self._lines.setdefault(job["id"], [])
        waiting.append(line)
        if len(waiting) == 1:
            self._pending.add(job["id"])

    def _ended(self, job: dict[str, Any]) -> None:
        for line in self._lines.pop(job["id"]):
            self._tally.note(job)
            self._results.write(line, job, None)


class Results:
    """The output, and the journal beside it; without a file, stdout and no journal."""

    def __init__(self, path: str | None, keys: set[str], terminal: Terminal):
        self._terminal = terminal
        self._path = Path(path) if path else None
        self._journal_path = Path(f"{path}.jobs") if path else None
        self.ended: dict[str, dict[str, Any]] = {}
        self.submitted: dict[str, str] = {}
        self._open_keys = set(keys)
        self._files: list[IO[str]] = []
        if self._path and self._journal_path:
            try:
                self._resume(self._path, self._journal_path, keys)
                self._files = [self._path.open("a", encoding="utf-8"), self._journal_path.open("a", encoding="utf-8")]
            except OSError as error:
                raise UsageError(f"The results cannot be written: {error}") from error

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()
        if self._journal_path and not self._open_keys:
            self._journal_path.unlink(missing_ok=True)

    def note(self, line: Line, job_id: str) -> None:
        """That a line was submitted, in the journal before anything else happens to it."""
        if self._files and self.submitted.get(line.key) != job_id:
            self.submitted[line.key] = job_id
            self._append(1, {"key": line.key, "id": job_id})

    def write(self, line: Line, job: dict[str, Any] | None, error: dict[str, Any] | None) -> None:
        """What became of a line."""
        record = {"line": line.number, "custom_id": line.custom_id, "key": line.key, "job": job, "error": error}
        if job is not None and job["status"] in FINAL:
            self._open_keys.discard(line.key)
        if self._files:
            self._append(0, record)
        else:
            self._terminal.json(record)

    def _append(self, file: int, record: dict[str, Any]) -> None:
        # In one write that reaches the system at once: what was killed has whole lines, but perhaps for the last.
        self._files[file].write(json.dumps(record, ensure_ascii=False) + "\n")
        self._files[file].flush()

    def _resume(self, path: Path, journal: Path, keys: set[str]) -> None:
        """Reads what there is already, and leaves in the output only what is final: the rest is to come again."""
        kept, strangers = [], 0
        for record in _records(path):
            job = record.get("job")
            if not isinstance(job, dict) or job.get("status") not in FINAL or record.get("key") in self.ended:
                continue
            kept.append(record)
            if record.get("key") in keys:
                self.ended[record["key"]] = job
            else:
                strangers += 1
        if strangers:
            self._terminal.say(f"{strangers} results in {path} are of other lines, and stay as they are.")
        if path.exists():
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in kept), encoding="utf-8")
            draft.replace(path)
        self.submitted = {record["key"]: record["id"] for record in _records(journal) if {"key", "id"} <= set(record)}
        self._mend(journal)
        self._open_keys -= set(self.ended)

    def _mend(self, journal: Path) -> None:
        """Ends a last line that was cut off, so that the next one begins on its own."""
        if journal.exists() and not journal.read_bytes().endswith(b"\n"):
            with journal.open("a") as file:
                file.write("\n")


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file that we have written; a line that was cut off is none."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                record = json.loads(text)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def read(path: str, defaults: dict[str, Any], name: str) -> Iterator[Line]:
    """The lines of a JSONL file. Raises UsageError with the number of the first one that is wrong."""
    seen: Counter[str] = Counter()
    for number, text in enumerate(_texts(path), start=1):
        if not text.strip():
            continue
        body, custom_id = _body(number, text)
        body = {**defaults, **body}
        if {"metadata"} <= defaults.keys() and isinstance(body.get("metadata"), dict):
            body["metadata"] = {**defaults["metadata"], **body["metadata"]}
        if "model" not in body:
            raise UsageError(f"Line {number} names no model. Name one there, or for all by -m.")
        said = json.dumps([name, custom_id, body], sort_keys=True, separators=(",", ":"))
        # The same line again is another job.
        seen[said] += 1
        key = hashlib.sha256(f"{seen[said]} {said}".encode()).hexdigest()
        yield Line(number, f"bursar-{key}", body, custom_id)


def _texts(path: str) -> Iterator[str]:
    try:
        if path == "-":
            yield from sys.stdin
        else:
            with Path(path).open(encoding="utf-8-sig") as file:
                yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _body(number: int, text: str) -> tuple[dict[str, Any], str | None]:
    """The job that a line asks for, and the name that it gives it."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"Line {number} is not JSON: {error}") from error
    if isinstance(value, str):
        return {"prompt": value}, None
    if isinstance(value, dict) and isinstance(value.get("body"), dict):
        return value["body"], str(value["custom_id"]) if "custom_id" in value else None
    if not isinstance(value, dict):
        raise UsageError(f"Line {number} is neither a text nor an object.")
    custom_id = value.pop("custom_id", None)
    return value, None if custom_id is None else str(custom_id)
