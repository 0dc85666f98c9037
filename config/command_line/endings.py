"""How a command ends: exit codes, and the errors that lead to them."""

from enum import IntEnum
from typing import Any

# The measures of limits whose amounts are US dollars.
IN_DOLLARS = ("usd", "reserve_usd")


class Ending(IntEnum):
    """Exit codes; they are documented in `bursar --help` and do not change."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_ALLOWED = 3
    NOT_FOUND = 4
    LIMIT = 5
    UNREACHABLE = 6
    INTERRUPTED = 130


MEANINGS = {
    Ending.OK: "done; where jobs were waited for, all of them succeeded",
    Ending.FAILED: "a job failed, was cancelled or stopped at its cap, or the request was refused",
    Ending.USAGE: "the command line is wrong",
    Ending.NOT_ALLOWED: "no API key, an invalid one, or one that may not do this",
    Ending.NOT_FOUND: "there is no such thing that the key may see",
    Ending.LIMIT: "a limit, a budget or a throttle is in the way",
    Ending.UNREACHABLE: "Bursar does not answer, or not for the moment (HTTP 5xx)",
    Ending.INTERRUPTED: "Ctrl-C; jobs that were submitted go on",
}


class CommandError(Exception):
    """Ends the command with a message."""

    ending = Ending.FAILED

    def __init__(self, message: str, ending: Ending | None = None):
        super().__init__(message)
        if ending is not None:
            self.ending = ending


class UsageError(CommandError):
    ending = Ending.USAGE


class Unreachable(CommandError):
    ending = Ending.UNREACHABLE


class Interrupted(CommandError):
    """Ctrl-C, with how to go on."""

    ending = Ending.INTERRUPTED


class Refused(CommandError):
    """Bursar refused the request; `problem` is its answer (RFC 9457)."""

    def __init__(self, status: int, problem: dict[str, Any]):
        super().__init__(str(problem.get("detail") or f"Bursar answered with HTTP {status}."), _ending_of(status))
        self.status = status
        self.problem = problem

    @property
    def code(self) -> str:
        return str(self.problem.get("code", ""))

    def explained(self) -> list[str]:
        """What more there is to say, line by line: fields, the limit in the way, the way out, the request's id."""
        lines = [f"{_where(error)}: {error.get('detail', '')}" for error in self.problem.get("errors", ())]
        if lines == [f"{_where(error)}: {self}" for error in self.problem.get("errors", ())]:
            lines = [f"field {_where(error)}" for error in self.problem.get("errors", ())]
        if budget := self.problem.get("budget"):
            lines.append(_limit(budget))
        if way_out := _WAYS_OUT.get(self.code) or _WAYS_OUT.get(str(self.status)):
            lines.append(way_out)
        if request_id := self.problem.get("request_id"):
            lines.append(f"request {request_id}")
        return lines


_WAYS_OUT = {
    "exceeds_limit": "way out: a smaller --max-tokens, or more: ask for it at /api/v1/quota-requests or in the admin; "
    "`bursar limits` shows every limit",
    "max_cost_exceeded": "way out: a larger --max-cost, or a smaller --max-tokens",
    "model_not_found": "way out: `bursar models` lists what there is",
    "not_a_management_key": "way out: a key that was made with `may_manage`",
    "idempotency_key_reused": "way out: another --idempotency-key, or the same request as before",
    "401": "way out: `bursar login`, or set BURSAR_API_KEY",
    "429": "way out: try again later, or with a longer --patience",
}


def _where(error: dict[str, Any]) -> str:
    pointer = str(error.get("pointer", "")).removeprefix("#/").replace("/", ".")
    return pointer or str(error.get("parameter") or error.get("header") or "request")


def _limit(budget: dict[str, Any]) -> str:
    measure = str(budget.get("measure", ""))
    unit = "USD" if measure in IN_DOLLARS else measure.replace("_", " ")
    needed = f", {budget['required']} needed" if "required" in budget else ""
    return (
        f"limit of {budget.get('scope')} {budget.get('name')} ({budget.get('origin')}): {budget.get('limit')} {unit}; "
        f"{budget.get('spent')} spent, {budget.get('held')} held, {budget.get('remaining')} left{needed}; "
        f"resets {budget.get('resets_at')}"
    )


def _ending_of(status: int) -> Ending:
    known = {
        401: Ending.NOT_ALLOWED,
        402: Ending.LIMIT,
        403: Ending.NOT_ALLOWED,
        404: Ending.NOT_FOUND,
        429: Ending.LIMIT,
    }
    return Ending.UNREACHABLE if status >= 500 else known.get(status, Ending.FAILED)
