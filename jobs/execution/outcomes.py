"""What came of a call, and whether what the provider says of its bill can be true."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jobs.execution.claims import Call
from jobs.execution.turns import Turn
from jobs.models import Job
from jobs.provider import Answer, Kept, Rejected, Uncertain, Unreachable
from jobs.responses import Accepted

# A bill of more than so many times the bound of its tokens is not believed.
BEYOND_BELIEF = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call that was begun; `sent_us` by Redis's clock."""

    turn: Turn
    sent_us: int
    result: Answer | Accepted | Rejected | Unreachable | Uncertain

    @property
    def call(self) -> Call:
        return self.turn.call


def believed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, with answers in doubt whose bill is far above all that their calls could come to.

    A bill somewhat above its bound is a bound that was too low, and is booked. One of ten times the tokens is a mistake
    of whoever wrote it: what the provider really bills is not known.
    """
    # What a call may use is in most cases less than what the rate limit counts for it, which is at hand.
    large = {
        o.call.job_id
        for o in outcomes
        if isinstance(o.result, Answer) and max(o.result.tokens.input, o.result.tokens.output) > o.call.admission_tokens
    }
    if not large:
        return list(outcomes)
    bounds = {
        pk: bound
        for pk, *bound in Job.objects.filter(pk__in=large).values_list(
            "pk", "bound_input_tokens", "bound_output_tokens"
        )
    }
    return [
        replace(o, result=_beyond_belief(o.result))
        if isinstance(o.result, Answer) and _is_beyond(o.result, bounds.get(o.call.job_id))
        else o
        for o in outcomes
    ]


def _is_beyond(answer: Answer, bounds: Sequence[int] | None) -> bool:
    if bounds is None:
        return False
    return any(
        used > BEYOND_BELIEF * bound
        for used, bound in zip((answer.tokens.input, answer.tokens.output), bounds, strict=True)
    )


def _beyond_belief(answer: Answer) -> Uncertain:
    tokens = answer.tokens
    return Uncertain(
        "usage_beyond_belief",
        f"The provider says that the call used {tokens.input} input and {tokens.output} output tokens, more than "
        f"{BEYOND_BELIEF} times what it could.",
        status=200,
        request_id=answer.request_id,
        kept=Kept(answer.response_id, answer.snapshot, answer.message, answer.finish_reason, answer.rest),
    )
