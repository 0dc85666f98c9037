"""Advice that stands in the way: only of projects that want that, and only until the sender says to ignore it."""

from collections.abc import Sequence

from accounts.models import Project
from jobs.advice.advice import Advice
from jobs.errors import AdviceBlocks


def check(project: Project, advice: Sequence[Advice]) -> None:
    """Raises AdviceBlocks where the project refuses jobs by any of this advice."""
    if not project.blocks_on_advice:
        return
    blocking = [one for one in advice if one.rule in project.blocks_on_advice]
    if not blocking:
        return
    first = blocking[0]
    where = f' at "{first.passage.quote}" in messages[{first.passage.message}]' if first.passage else ""
    more = f" And {len(blocking) - 1} more: see advice." if len(blocking) > 1 else ""
    rules = ", ".join(one.rule.value for one in blocking)
    raise AdviceBlocks(
        f"This project takes no prompt with the advice {first.rule.value}{where}. {first.do}{more} To have it run "
        f"as it "
        f"is, send ignore_advice with the rules ({rules}), below /v1 in the header X-Ignore-Advice.",
        param=param_of(first),
        advice=[one.as_sent() for one in blocking],
    )


def param_of(advice: Advice) -> str:
    """What of the request the advice is about."""
    return f"messages[{advice.passage.message}]" if advice.passage else "max_completion_tokens"
