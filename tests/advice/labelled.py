"""The labelled prompts: what a careful person would advise on each.

`tuned.jsonl` was looked at while the rules were made, `held_out.jsonl` was not: a third of all, taken by a hash within
each set of labels. Both were labelled before any rule was written. `later.jsonl` was written when the rules were done,
measured once (`docs/advice.md`), and learnt from since. `{{name}}` in a prompt stands for `material/name.txt`, so that
documents are stored once.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from accounts.models import AdviceRule
from jobs.advice.advice import Situation, Smaller
from jobs.advice.rules import advise

FOLDER = Path(__file__).parent
# What of the models of the set would do simple work for a fraction; small ones have none.
SMALLER = Smaller("gpt-4o-mini", Decimal("0.05"))
LARGE = frozenset({"o1", "o1-preview", "o1-pro", "o3", "gpt-5"})
PLAIN = frozenset({"gpt-4o", "gpt-4o-mini"})


@dataclass(frozen=True)
class Labelled:
    id: str
    model: str
    cap: int | None
    effort: str | None
    messages: list[dict[str, Any]]
    rules: frozenset[AdviceRule]

    @property
    def situation(self) -> Situation:
        return Situation(
            model=self.model,
            family=self.model,
            is_reasoning=self.model not in PLAIN,
            cap=self.cap,
            effort=self.effort,
            smaller=SMALLER if self.model in LARGE else None,
        )

    def found(self) -> set[AdviceRule]:
        return {advice.rule for advice in advise(self.messages, self.situation)}


def labelled(name: str) -> Iterator[Labelled]:
    """The prompts of one file."""
    for line in (FOLDER / f"{name}.jsonl").read_text().splitlines():
        row = json.loads(line)
        messages = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
        yield Labelled(
            row["id"],
            row["model"],
            row.get("max_completion_tokens"),
            row.get("reasoning_effort"),
            [{**message, "content": _whole(message["content"])} for message in messages],
            frozenset(map(AdviceRule, row["rules"])),
        )


@dataclass
class Score:
    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0


def scores(prompts: list[Labelled]) -> dict[AdviceRule, Score]:
    """How often each rule was right, gave advice that nobody would, and was silent where somebody would not be."""
    counts: Counter[tuple[AdviceRule, str]] = Counter()
    for prompt in prompts:
        found = prompt.found()
        counts.update((rule, "right") for rule in found & prompt.rules)
        counts.update((rule, "wrong") for rule in found - prompt.rules)
        counts.update((rule, "missed") for rule in prompt.rules - found)
    return {rule: Score(counts[rule, "right"], counts[rule, "wrong"], counts[rule, "missed"]) for rule in AdviceRule}


def table(of: dict[str, dict[AdviceRule, Score]]) -> str:
    """Precision and recall of each rule, a pair of columns a set."""
    lines = [f"{'rule':<22}" + "".join(f"{name + ': n':>14}{'precision':>11}{'recall':>8}" for name in of)]
    for rule in AdviceRule:
        cells = (
            f"{s.right + s.missed:>14}{s.precision:>11.2f}{s.recall:>8.2f}"
            for s in (found[rule] for found in of.values())
        )
        lines.append(f"{rule.value:<22}" + "".join(cells))
    return "\n".join(lines)


@cache
def _material(name: str) -> str:
    return (FOLDER / "material" / f"{name}.txt").read_text().strip()


def _whole(text: str) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: _material(match[1]), text)
