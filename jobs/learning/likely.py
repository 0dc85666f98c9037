"""What a call will probably cost at most, for the ledger of an organization that keeps a reserve."""

from collections.abc import Callable
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from billing.ledger import Likely
from billing.pricing import PriceTerms, bound_usd
from billing.reserves import risk_of
from jobs.learning.levels import Learnt, learnt_for


class Bounded(Protocol):
    """As much of a job as says what is likely of it."""

    @property
    def project_id(self) -> UUID: ...
    @property
    def model(self) -> str: ...
    @property
    def reasoning_effort(self) -> str: ...
    @property
    def prompt_class(self) -> str: ...
    @property
    def bound_input_tokens(self) -> int: ...
    @property
    def bound_output_tokens(self) -> int: ...


def likely_cost(organization_id: UUID, job: Bounded, price: Callable[[], PriceTerms]) -> Likely | None:
    """The cost that a job's call exceeds with the risk of its organization's reserve; None where all of it is held.

    That is without a reserve, without enough calls like it, where its cap is no more than they needed, and of jobs that
    have no class, such as those with several answers. `price` is asked only where there is something to price.
    """
    risk: Decimal | None = risk_of(organization_id)
    if risk is None or not job.prompt_class:
        return None
    learnt = learnt_for(organization_id, job.project_id, job.model, job.reasoning_effort, job.prompt_class)
    return likely_by(learnt, risk, job.bound_input_tokens, job.bound_output_tokens, price)


def likely_by(
    learnt: Learnt | None, risk: Decimal, input_tokens: int, output_tokens: int, price: Callable[[], PriceTerms]
) -> Likely | None:
    """The same by what is learnt. The input is held in full: its bound is hardly above the truth."""
    if learnt is None:
        return None
    tokens = learnt.completion.cap(risk)
    if tokens >= output_tokens:
        return None
    return Likely(bound_usd(input_tokens=input_tokens, output_tokens=tokens, price=price()), risk)
