"""`bursar estimate`: what a prompt would cost, what would make it cheaper, and what stands in its way. Runs nothing."""

from argparse import Namespace
from typing import Any

from config.command_line.advice import tell_advice
from config.command_line.api import connect
from config.command_line.endings import CommandError, Ending, UsageError
from config.command_line.limits import written
from config.command_line.money import count, usd
from config.command_line.submit import NEEDED, body_of
from config.command_line.terminal import Terminal, safe

# What a limit is in the way of, against what the job itself is refused for.
_OF_LIMITS = frozenset({"exceeds_limit", "max_cost_exceeded", "backlog_full"})


def run(options: Namespace, terminal: Terminal) -> int:
    """0 where the job would be queued; 1 where it would be refused, 5 where a limit is what would refuse it."""
    if (options.prompt is None) == (options.file is None):
        raise UsageError("Give one of: a prompt, - for stdin, --file. `bursar estimate --help` has examples.")
    body = body_of(options)
    if "model" not in body:
        raise UsageError(NEEDED)
    with connect(options, terminal) as api:
        found = api.post("jobs/estimate", body, repeatable=True)
    if terminal.is_json:
        terminal.json(found)
    else:
        _show(terminal, found)
        tell_advice(terminal, found["advice"], body["prompt"])
    refusal = found["refusal"]
    if refusal is None:
        return Ending.OK
    ending = Ending.LIMIT if refusal["code"] in _OF_LIMITS else Ending.FAILED
    raise CommandError(f"It would be refused: {refusal['detail']}", ending)


def _show(terminal: Terminal, found: dict[str, Any]) -> None:
    bound, expected = found["bound"], found["expected"]
    terminal.data(f"{usd(bound['cost_usd'])} USD at most, {count(bound['output_tokens'])} output tokens")
    if expected:
        for name, about in (("p50", "half of such calls"), ("p90", "9 in 10"), ("p99", "99 in 100")):
            within = expected[name]
            told = f"{usd(within['cost_usd'])} USD, {count(within['output_tokens'])} output tokens"
            terminal.data(f"{told} or less: {about}")
        terminal.data(f"{expected['empty_probability']} is the probability of an empty answer at this cap")
    if cap := found["recommended_max_completion_tokens"]:
        terminal.data(f"{count(cap)} is the recommended cap")
    for limit in found["limits"][:1]:
        left = written(limit["measure"], limit["left"])
        terminal.data(f"{left} would be left of the limit of {limit['scope']} {safe(limit['name'])} meanwhile")
    if waits := found["waits_for"]:
        terminal.warn(f"It would wait: {waits['reason'].replace('_', ' ')}. `bursar limits` shows all limits.")
