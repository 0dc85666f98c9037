"""What the commands about jobs have in common: how a job is shown."""

from typing import Any

from config.command_line.money import at, cost, count, total_tokens, usd
from config.command_line.terminal import Column, Terminal, safe, safe_lines

COLUMNS = (
    Column("ID"),
    Column("STATUS"),
    Column("MODEL", flexible=True),
    Column("TOKENS", right=True),
    Column("USD", right=True),
    Column("QUEUED"),
    Column("", flexible=True),
)


def row(job: dict[str, Any]) -> list[str]:
    """A job as a line of a table."""
    tokens, cost_usd = total_tokens(job), (job.get("cost") or {}).get("total_usd")
    return [
        *(job["id"], job["status"], job["snapshot"] or job["model"]),
        *(count(tokens) if tokens else "-", usd(cost_usd), at(job["queued_at"]), remark(job)),
    ]


def remark(job: dict[str, Any]) -> str:
    """What there is to say of a job beside its figures."""
    if job.get("error"):
        return str(job["error"].get("message") or job["error"].get("code") or "")
    if job.get("waiting_on"):
        return waiting(job["waiting_on"])
    if job.get("warnings"):
        return str(job["warnings"][0]["message"])
    return ""


def waiting(on: dict[str, Any]) -> str:
    """What a queued job waits for."""
    text = "waits for " + str(on.get("reason", "")).replace("_", " ")
    if on.get("limit_value") is not None:
        text += f" ({on['limit_value']} {str(on.get('limit', '')).replace('_', ' ')})"
    elif isinstance(on.get("budget"), dict):
        text += f" of {on['budget'].get('scope')} {on['budget'].get('name')}"
    if on.get("jobs_ahead"):
        text += f", {on['jobs_ahead']} ahead"
    if on.get("expected_start"):
        text += f", starts about {at(on['expected_start'])}"
    return text


def tell_end(terminal: Terminal, job: dict[str, Any]) -> None:
    """Says on stderr how a job ended and what it cost; its warnings too."""
    output = (job.get("usage") or {}).get("completion_tokens") or (job.get("usage") or {}).get("output_tokens")
    share = f", {job['reasoning_share']} of the output reasoning" if job.get("reasoning_share") else ""
    figures = f"{count(total_tokens(job))} tokens ({count(output)} output{share}), {usd(cost(job))} USD"
    terminal.say(f"{job['id']} {job['status']}: {figures}")
    for warning in job.get("warnings") or ():
        terminal.say(f"  {safe(warning['message'])}")
    if job.get("error"):
        terminal.warn(f"  {safe(remark(job))}")
    if job["status"] == "in_doubt":
        terminal.warn(f"  Its outcome is not known yet, and its hold stays. Look again: bursar show {job['id']}")


def answer_of(terminal: Terminal, job: dict[str, Any]) -> str:
    """The text of a job's answer; made harmless where a terminal shows it."""
    text = job.get("output_text") or ""
    return safe_lines(text) if terminal.is_terminal else text
