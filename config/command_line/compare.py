"""`bursar compare`: runs prompts on several models, efforts, caps and wordings, and shows what each costs and saves."""

import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any
from uuid import uuid4

from config.command_line.api import Api, connect, segment
from config.command_line.endings import Ending, Interrupted, UsageError
from config.command_line.money import amount, usd
from config.command_line.saving import check_free, save
from config.command_line.terminal import Column, Terminal, bar, safe

FINAL = frozenset({"completed", "cancelled"})
COLUMNS = (
    *(Column("VARIANT", flexible=True), Column("ANSWERED", right=True), Column("INPUT", right=True)),
    *(Column("REASONING", right=True), Column("VISIBLE", right=True), Column("USD A CALL", right=True)),
    *(Column("SAVED PER 1,000", right=True), Column("SAVED", right=True), Column("SECONDS", right=True)),
)
_ANSWERED = ("succeeded", "incomplete")
# As people type what a variant has beside its model.
_SETTINGS = {"effort": "reasoning_effort", "cap": "max_completion_tokens"}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0


def run(options: Namespace, terminal: Terminal) -> int:
    """0 where the comparison was taken, and each of its runs answered if it was waited for."""
    if options.output:
        check_free(options.output, may_replace=options.force)
    body = _body(options)
    key = options.idempotency_key or f"bursar-{uuid4()}"
    waits = (terminal.is_terminal or bool(options.output)) if options.wait is None else options.wait
    with connect(options, terminal) as api:
        comparison = api.post("comparisons", body, key=key)
        calls = comparison["progress"]["runs"]
        terminal.say(f"{comparison['id']}: {calls} calls, never more than {usd(comparison['max_cost_usd'])} USD")
        if not waits:
            _pass_on(terminal, comparison)
            return Ending.OK
        return _finish(api, options, terminal, comparison["id"])


def _pass_on(terminal: Terminal, comparison: dict[str, Any]) -> None:
    if terminal.is_json:
        terminal.json(comparison)
    else:
        terminal.data(comparison["id"])


# --- What is asked ----------------------------------------------------------------------------------------------------
def _body(options: Namespace) -> dict[str, Any]:
    """The body of the request: that of a file, with what the command line says instead. Raises UsageError."""
    body = _read(options.file) if options.file else {}
    given = {
        "name": options.name,
        "prompts": options.prompt or None,
        "variants": _variants(options.model, options.wording) or None,
        "times": options.times,
        "max_cost_usd": amount(options.max_cost, "--max-cost") if options.max_cost else None,
        "baseline": options.baseline,
    }
    if options.prompt:
        body = {name: part for name, part in body.items() if name not in {"prompt", "messages"}}
    body = {**body, **{name: part for name, part in given.items() if part is not None}}
    if not body.keys() & {"prompt", "messages", "prompts"} or "variants" not in body:
        raise UsageError("Give a FILE, or --prompt and at least one -m MODEL. `bursar compare --help` has examples.")
    if "max_cost_usd" not in body:
        raise UsageError("Say by --max-cost what all calls together may come to.")
    return body


def _read(name: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} cannot be read: {error}") from error
    try:
        # Fractions go on as they were written.
        body = json.loads(text, parse_float=str)
    except ValueError as error:
        raise UsageError(f"{name} is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise UsageError(f"{name} is the body of a comparison: an object with prompts, variants and max_cost_usd.")
    return body


def _variants(models: list[str], wording: str | None) -> list[dict[str, Any]]:
    """Each model as it was typed, and once more with the wording if there is one."""
    plain = [_variant(text) for text in models]
    return [*plain, *({**variant, "wording": wording} for variant in plain)] if wording else plain


def _variant(text: str) -> dict[str, Any]:
    """`o1-mini` or `o1-preview,cap=300,effort=low`. Raises UsageError."""
    model, *settings = (part.strip() for part in text.split(","))
    variant: dict[str, Any] = {"model": model}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in _SETTINGS or not value or (name == "cap" and not value.isdecimal()):
            raise UsageError(f"-m takes MODEL, MODEL,effort=low or MODEL,cap=300, and not '{text}'.")
        variant[_SETTINGS[name]] = int(value) if name == "cap" else value
    return variant


# --- What comes of it -------------------------------------------------------------------------------------------------
def _finish(api: Api, options: Namespace, terminal: Terminal, comparison_id: str) -> int:
    path = f"comparisons/{segment(comparison_id)}"
    try:
        _wait(api, terminal, path)
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped waiting; the comparison goes on: GET /api/v1/{path}") from None
    comparison = api.get(path)
    if terminal.is_json:
        terminal.json(comparison)
    else:
        _tell(terminal, comparison)
    if options.output:
        terminal.say(f"{save(api.download(f'{path}/runs.csv'), options.output, terminal):,} bytes in {options.output}")
    answered = sum(_answered(variant) for variant in comparison["variants"])
    is_done = comparison["status"] == "completed" and answered == comparison["progress"]["runs"]
    return Ending.OK if is_done else Ending.FAILED


def _wait(api: Api, terminal: Terminal, path: str) -> None:
    """Shows how far it is until it has ended."""
    pause, before = _FIRST_PAUSE, -1
    while (comparison := api.get(path, {"answers": "false"}))["status"] not in FINAL:
        runs, ended = comparison["progress"]["runs"], comparison["progress"]["ended"]
        filled = bar(ended, runs).replace(" ", "·")
        terminal.progress(f"{filled} {ended}/{runs}  {usd(comparison['spent_usd'])} USD")
        pause = _FIRST_PAUSE if ended != before else min(pause * 1.5, _LONGEST_PAUSE)
        before = ended
        time.sleep(pause)
    terminal.clear()


def _tell(terminal: Terminal, comparison: dict[str, Any]) -> None:
    terminal.table(COLUMNS, [_row(variant) for variant in comparison["variants"]], empty="")
    progress, spent = comparison["progress"], usd(comparison["spent_usd"])
    left = f", {progress['not_run']} not run" if progress["not_run"] else ""
    terminal.say(f"{comparison['status']}: {spent} of {usd(comparison['max_cost_usd'])} USD{left}")
    for variant in comparison["variants"]:
        saving, name = variant["saving"] or {}, safe(variant["name"])
        if variant["figures"]["empty"]:
            terminal.say(f"  {name}: {variant['figures']['empty']} answers were paid for and empty")
        between = saving.get("confidence_95") or saving.get("range")
        if between:
            told = "with 95 % confidence" if saving.get("confidence_95") else "by the answers that were seen"
            terminal.say(f"  {name}: between {usd(between['low_usd'])} and {usd(between['high_usd'])} USD {told}")


def _row(variant: dict[str, Any]) -> list[str]:
    figures, saving = variant["figures"], variant["saving"] or {}
    tokens, cost, latency = (figures[name] or {} for name in ("tokens", "cost", "latency_ms"))
    means = [tokens[name]["mean"] if tokens else "-" for name in ("input", "reasoning", "visible")]
    percent = saving.get("percent")
    return [
        *(variant["name"], f"{_answered(variant)}/{figures['runs']}", *means, usd(cost.get("mean_usd"))),
        *(usd(saving.get("per_thousand_calls_usd")), f"{percent} %" if percent else "-"),
        f"{latency['median'] / 1000:.1f}" if latency else "-",
    ]


def _answered(variant: dict[str, Any]) -> int:
    return sum(variant["figures"]["counts"].get(status, 0) for status in _ANSWERED)
