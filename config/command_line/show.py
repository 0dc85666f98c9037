"""`bursar show`: a job, its figures and its answer."""

from argparse import Namespace
from typing import Any

from config.command_line.api import connect, segment
from config.command_line.endings import Ending
from config.command_line.jobs import answer_of, remark, waiting
from config.command_line.money import at, count, usd
from config.command_line.terminal import Terminal, safe


def run(options: Namespace, terminal: Terminal) -> int:
    """The job on stdout."""
    with connect(options, terminal) as api:
        job = api.get(f"jobs/{segment(options.id)}")
    if terminal.is_json:
        terminal.json(job)
    elif options.answer:
        terminal.data(answer_of(terminal, job))
    else:
        facts = [(name, value) for name, value in _facts(job) if value and value != "-"]
        width = max(len(name) for name, _ in facts)
        for name, value in facts:
            terminal.data(f"{terminal.color(name.ljust(width), 'dim')}  {terminal.status(safe(value))}")
        if job.get("output_text"):
            terminal.data("\n" + answer_of(terminal, job))
    return Ending.OK


def _facts(job: dict[str, Any]) -> list[tuple[str, str]]:
    price = job.get("cost") or {}
    used = job.get("usage") or {}
    details = used.get("completion_tokens_details") or used.get("output_tokens_details") or {}
    bound = job["bound"]
    metadata = ", ".join(f"{key}={value}" for key, value in (job.get("metadata") or {}).items())
    return [
        ("id", job["id"]),
        ("status", job["status"]),
        ("model", job["model"] + (f", answered by {job['snapshot']}" if job.get("snapshot") else "")),
        ("service tier", job["service_tier"]),
        ("priority", str(job["priority"] or "")),
        ("metadata", metadata),
        ("waits", waiting(job["waiting_on"]) if job.get("waiting_on") else ""),
        ("remark", remark(job) if not job.get("waiting_on") else ""),
        (
            "bound",
            f"{count(bound['input_tokens'])} + {count(bound['output_tokens'])} tokens, {usd(bound['cost_usd'])} USD",
        ),
        ("input", _part(used.get("prompt_tokens", used.get("input_tokens")), price, "input_usd", "cached_input_usd")),
        (
            "output",
            _part(used.get("completion_tokens", used.get("output_tokens")), price, "output_usd", "reasoning_usd"),
        ),
        ("of it reasoning", _part(details.get("reasoning_tokens"), price, "reasoning_usd")),
        ("cost", f"{usd(price['total_usd'])} USD" if price else ""),
        ("calls", str(job["attempts"] or "")),
        ("queued", at(job["queued_at"])),
        ("started", at(job["started_at"])),
        ("finished", at(job["finished_at"])),
    ]


def _part(tokens: int | None, price: dict[str, str], *names: str) -> str:
    if tokens is None:
        return ""
    amounts = " + ".join(usd(price[name]) for name in names if name in price)
    return f"{count(tokens)} tokens, {amounts} USD" if amounts else f"{count(tokens)} tokens"
