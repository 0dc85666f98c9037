"""What a job is expected to come to, as it is submitted: kept with it, to be compared with what it came to.

Nothing here is a promise, and nothing that is held or refused depends on it, but where an owner keeps a reserve
(`jobs.learning.likely`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from accounts.models import Project
from billing.pricing import MILLION, PriceTerms
from jobs.estimates import Bound
from jobs.learning.classes import class_of
from jobs.learning.expectation import Expectation
from jobs.learning.kinds import whole_usd
from jobs.learning.levels import Learnt, learnt_for
from jobs.validation import PromptRequest


@dataclass(frozen=True, slots=True)
class Prediction:
    """The columns of a job."""

    reasoning_effort: str
    prompt_class: str
    expected_p50_tokens: int | None = None
    expected_p90_tokens: int | None = None
    expected_p99_tokens: int | None = None
    expected_usd: Decimal | None = None
    expected_empty: Decimal | None = None

    @property
    def columns(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a prompt is like, and what calls like it came to; None where too few of them are known."""

    reasoning_effort: str
    prompt_class: str
    learnt: Learnt | None = None

    def expectation(self, price: PriceTerms) -> Expectation | None:
        """What one more is expected to come to at a price."""
        return self.learnt.expectation(price) if self.learnt else None


def likeness_of(project: Project, prompt: PromptRequest, bound: Bound) -> Likeness:
    """The class of a prompt, and what is learnt of it. Usually asks no database.

    Several answers to one prompt belong to no class: their tokens are billed in one sum.
    """
    effort = str(prompt.parameters.get("reasoning_effort") or "")[:40]
    if (prompt.parameters.get("n") or 1) != 1:
        return Likeness(effort, "")
    prompt_class = class_of(prompt.messages, bound.input_tokens)
    learnt = learnt_for(project.organization_id, project.pk, prompt.model, effort, prompt_class)
    return Likeness(effort, prompt_class, learnt)


def predict(like: Likeness, bound: Bound, price: Callable[[], PriceTerms]) -> Prediction:
    """What is known of a job before it runs. `price` is asked only where there is something to price."""
    effort, prompt_class, learnt = like.reasoning_effort, like.prompt_class, like.learnt
    if learnt is None:
        return Prediction(effort, prompt_class)
    p50, p90, p99 = learnt.quantiles
    cost, empty = expected_usd(learnt, bound, price()), learnt.reasoning.over(max(0, bound.output_tokens - 1))
    return Prediction(effort, prompt_class, p50, p90, p99, cost, empty)


def expected_usd(learnt: Learnt, bound: Bound, price: PriceTerms) -> Decimal:
    """The mean cost of calls with such a prompt and such a cap."""
    read = bound.input_tokens * learnt.reading.share_of_bound
    made = learnt.completion.mean(bound.output_tokens)
    return whole_usd((learnt.reading.cost_usd(price, read), made * price.output / MILLION))
