"""`bursar batch`: sends a file of requests, waits for its batch, and fetches what came of every line."""

import hashlib
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from config.command_line.api import Api, connect, segment
from config.command_line.endings import CommandError, Ending, Interrupted, UsageError
from config.command_line.listing import pairs
from config.command_line.money import amount, at, usd
from config.command_line.saving import check_free, pass_on, save
from config.command_line.terminal import Column, Terminal, bar, safe

FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
ENDPOINT = "/v1/chat/completions"
COLUMNS = (
    *(Column("ID"), Column("STATUS"), Column("MODEL", flexible=True), Column("LINES", right=True)),
    *(Column("ANSWERED", right=True), Column("USD", right=True), Column("CREATED")),
)
# In the metadata of a batch: which file it is of, and how it was asked for.
RUN = "bursar_run"
# Among so many of the latest batches the same run is looked for.
_LATEST = 100
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0
_PIECE = 256 * 1024


def run(options: Namespace, terminal: Terminal) -> int:
    """0 where the batch was taken, and each of its lines answered if it was waited for."""
    if options.action != "list" and not options.target:
        missing = "file" if options.action in {"run", "preview"} else "batch by its id"
        raise UsageError(f"Name the {missing}: bursar batch {options.action} ...")
    if options.action in {"run", "watch"}:
        for name in filter(None, (options.output, _errors_file(options))):
            check_free(name, may_replace=options.force)
    with connect(options, terminal) as api:
        return _ACTIONS[options.action](api, options, terminal)


def _run(api: Api, options: Namespace, terminal: Terminal) -> int:
    batch = _make(api, options, terminal)
    waits = terminal.is_terminal or bool(options.output)
    if waits if options.wait is None else options.wait:
        return _finish(api, options, terminal, batch["id"])
    if terminal.is_json:
        terminal.json(batch)
    else:
        terminal.data(batch["id"])
        terminal.say(f"Go on with: bursar batch watch {batch['id']} -o FILE")
    return Ending.OK


def _watch(api: Api, options: Namespace, terminal: Terminal) -> int:
    return _finish(api, options, terminal, options.target)


def _cancel(api: Api, options: Namespace, terminal: Terminal) -> int:
    return _tell(terminal, api.post(f"/v1/batches/{segment(options.target)}/cancel", repeatable=True))


def _show(api: Api, options: Namespace, terminal: Terminal) -> int:
    return _tell(terminal, _batch(api, options.target))


def _errors_file(options: Namespace) -> str | None:
    return options.errors or (f"{options.output}.errors" if options.output else None)


# --- Making it --------------------------------------------------------------------------------------------------------
def _make(api: Api, options: Namespace, terminal: Terminal) -> dict[str, Any]:
    """The batch of a file; the one that there is where the same was run before under the same name."""
    most = amount(options.max_cost, "--max-cost") if options.max_cost else None
    digest = _digest(options, most)
    same = [batch for batch in _batches(api, _LATEST) if (batch["metadata"] or {}).get(RUN) == digest]
    alive = [batch for batch in same if batch["status"] not in {"failed", "cancelled"}]
    if alive:
        terminal.say(f"{alive[0]['id']} is the batch of this file; --run NAME with a new name runs it anew.")
        return alive[0]
    file = _upload(api, options.target, terminal)
    wanted = {
        "input_file_id": file["id"],
        "endpoint": ENDPOINT,
        "completion_window": options.window,
        "metadata": {**pairs(options.metadata), RUN: digest},
    }
    headers = {"X-Max-Cost-USD": most} if most else {}
    # Of this run and of how often it failed before, so that of two commands at once one makes the batch.
    batch = api.post("/v1/batches", wanted, key=f"bursar-{digest}-{len(same)}", headers=headers)
    terminal.say(f"{batch['id']} {batch['status']}")
    return dict(batch)


def _digest(options: Namespace, most: str | None) -> str:
    """What the file and the options come to: the same again means the same batch."""
    found = hashlib.sha256(repr((options.window, most, sorted(options.metadata), options.run)).encode())
    for piece in _pieces(options.target):
        found.update(piece)
    return found.hexdigest()[:40]


def _upload(api: Api, name: str, terminal: Terminal) -> dict[str, Any]:
    """Sends a file, piece by piece, as a form."""
    boundary = f"bursar-{time.time_ns():x}"
    told = Path(name).name.encode("ascii", "replace").decode().replace('"', "_")
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--{boundary}\r\n'
        f'Content-Disposition: form-data; name="file"; filename="{told}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    size = Path(name).stat().st_size

    def form() -> Iterator[bytes]:
        sent = 0
        yield head
        for piece in _pieces(name):
            sent += len(piece)
            terminal.progress(f"{bar(sent, size)} {sent:,} of {size:,} bytes sent")
            yield piece
        yield tail

    length, kind = len(head) + size + len(tail), f"multipart/form-data; boundary={boundary}"
    file: dict[str, Any] = api.upload("/v1/files", form, length=length, content_type=kind)
    return file


def _pieces(name: str) -> Iterator[bytes]:
    try:
        with Path(name).open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}.") from error


# --- Waiting for it ---------------------------------------------------------------------------------------------------
def _finish(api: Api, options: Namespace, terminal: Terminal, batch_id: str) -> int:
    """Waits for a batch, and puts what came of it where it is to go."""
    try:
        batch = _wait(api, terminal, batch_id)
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped waiting; the batch goes on. Go on with: bursar batch watch {batch_id}") from None
    counts = batch["request_counts"]
    if terminal.is_json:
        terminal.json(batch)
    _fetch(api, options, terminal, batch)
    terminal.say(f"{batch['id']} {batch['status']}: {_counted(counts)}; {usd(batch['cost']['total_usd'])} USD")
    for fault in (batch["errors"] or {}).get("data", ()):
        terminal.warn(f"  line {fault['line'] or '-'}: {fault['code']}: {safe(fault['message'] or '')}")
    is_done = batch["status"] == "completed" and counts["completed"] == counts["total"]
    return Ending.OK if is_done else Ending.FAILED


def _wait(api: Api, terminal: Terminal, batch_id: str) -> dict[str, Any]:
    """The batch once it has ended."""
    pause, before = _FIRST_PAUSE, None
    while (batch := _batch(api, batch_id))["status"] not in FINAL:
        counts = batch["request_counts"]
        ended = sum(counts[name] for name in ("completed", "failed", "expired", "cancelled"))
        terminal.progress(
            f"{bar(ended, counts['total']).replace(' ', '·')} {batch['status']} {ended}/{counts['total']}  "
            f"{usd(batch['cost']['total_usd'])} USD"
        )
        now = (batch["status"], ended)
        pause = _FIRST_PAUSE if now != before else min(pause * 1.5, _LONGEST_PAUSE)
        before = now
        time.sleep(pause)
    terminal.clear()
    return batch


def _fetch(api: Api, options: Namespace, terminal: Terminal, batch: dict[str, Any]) -> None:
    """Saves answers and errors. Without a name for them answers go to stdout, and errors nowhere."""
    errors, answered, failed = _errors_file(options), batch["output_file_id"], batch["error_file_id"]
    if answered and options.output:
        terminal.say(f"{save(_content(api, answered), options.output, terminal):,} bytes in {options.output}")
    elif answered and not terminal.is_json:
        pass_on(_content(api, answered), terminal)
        terminal.clear()
    if failed and errors:
        terminal.say(f"{save(_content(api, failed), errors, terminal):,} bytes in {errors}")
    elif failed:
        terminal.say(f"What was not answered: bursar batch watch {batch['id']} -o FILE, then FILE.errors")


def _content(api: Api, file_id: str) -> HTTPResponse:
    return api.download(f"/v1/files/{segment(file_id)}/content")


# --- Looking at it ----------------------------------------------------------------------------------------------------
def _batch(api: Api, batch_id: str) -> dict[str, Any]:
    return dict(api.get(f"/v1/batches/{segment(batch_id)}"))


def _batches(api: Api, limit: int) -> Iterator[dict[str, Any]]:
    """The project's latest batches, as many as are asked for."""
    query: dict[str, Any] = {"limit": min(limit, _LATEST)}
    while limit > 0:
        page = api.get("/v1/batches", query)
        yield from page["data"][:limit]
        limit -= len(page["data"])
        if not page["has_more"] or not page["data"]:
            return
        query["after"] = page["data"][-1]["id"]


def _list(api: Api, options: Namespace, terminal: Terminal) -> int:
    if options.limit < 1:
        raise UsageError("--limit is at least 1.")
    found = list(_batches(api, options.limit))
    if terminal.is_json:
        for batch in found:
            terminal.json(batch)
    else:
        terminal.table(COLUMNS, [_row(batch) for batch in found], empty="No batch yet: `bursar batch run FILE`.")
    return Ending.OK


def _tell(terminal: Terminal, batch: dict[str, Any]) -> int:
    if terminal.is_json:
        terminal.json(batch)
    else:
        terminal.table(COLUMNS, [_row(batch)], empty="")
        terminal.say(_counted(batch["request_counts"]))
    return Ending.OK


def _row(batch: dict[str, Any]) -> list[str]:
    counts, created = batch["request_counts"], datetime.fromtimestamp(batch["created_at"], UTC).isoformat()
    return [
        *(batch["id"], batch["status"], batch["model"] or "-", f"{counts['total']:,}", f"{counts['completed']:,}"),
        *(usd(batch["cost"]["total_usd"]), at(created)),
    ]


def _counted(counts: dict[str, int]) -> str:
    """How many lines ended how, in words."""
    parts = [f"{counts[name]} {name}" for name in ("failed", "expired", "cancelled") if counts.get(name)]
    return ", ".join([f"{counts['completed']} of {counts['total']} lines answered", *parts])


def _preview(api: Api, options: Namespace, terminal: Terminal) -> int:
    """What a batch of the file would cost; 1 where lines of it would be refused, 5 where a limit is in the way."""
    file = _upload(api, options.target, terminal)
    found = api.post("/v1/batches/preview", {"input_file_id": file["id"]}, repeatable=True)
    if terminal.is_json:
        terminal.json(found)
    else:
        terminal.data(f"{found['requests']:,} lines")
        for name, about in (("bound", "at most"), ("expected", "expected"), ("p90", "if answers are long")):
            if found[name]:
                terminal.data(f"{usd(found[name]['cost_usd'])} USD {about}")
    for fault in found["refused"]["errors"]:
        terminal.warn(f"  line {fault['line']}: {fault['code']}: {safe(fault['message'])}")
    if met := found["would_meet"]:
        told = f"{met['scope']} {met['name']}: {met['remaining']} left, {met['required']} needed"
        raise CommandError(f"A limit is in the way: {told}. `bursar limits` shows all of them.", Ending.LIMIT)
    return Ending.FAILED if found["refused"]["count"] else Ending.OK


_ACTIONS: Mapping[str, Callable[[Api, Namespace, Terminal], int]] = {
    "run": _run,
    "preview": _preview,
    "watch": _watch,
    "show": _show,
    "list": _list,
    "cancel": _cancel,
}
