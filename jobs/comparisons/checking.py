"""Checks a comparison before anything of it is stored: each prompt on each variant, as a submission of it would be."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from accounts.errors import DomainError
from accounts.models import ApiKey
from accounts.remembered import reading_anew
from billing.money import usd
from jobs import submission
from jobs.comparisons.errors import WordingHasNoPlace
from jobs.comparisons.requests import Prompt, Variant, Wanted, request_of
from jobs.errors import MaxCostTooSmall
from jobs.submission import Submission


def bounds_of(api_key: ApiKey, wanted: Wanted, now: datetime) -> list[list[Decimal]]:
    """The most that one call can cost in US dollars, by prompt and by variant.

    Raises what a submission raises, with the place of the fault as its param: `variants[2].max_completion_tokens`,
    `prompts[0]`; and MaxCostTooSmall where a call could never be run below the ceiling.
    """
    found = [
        [_bound(api_key, prompt, variant, place, now) for place, variant in enumerate(wanted.variants)]
        for prompt in wanted.prompts
    ]
    for place, variant in enumerate(wanted.variants):
        dearest = max(row[place] for row in found)
        if dearest > wanted.max_cost_usd:
            raise MaxCostTooSmall(
                f"One call of variants[{place}] ({variant.name}) can cost up to {usd(dearest)} USD, more than the "
                f"max_cost_usd of {usd(wanted.max_cost_usd)} for all of them, so it would never be run. Raise it, or "
                "give the variant a lower max_completion_tokens.",
                param="max_cost_usd",
            )
    return found


def at_most(wanted: Wanted, bounds: Sequence[Sequence[Decimal]]) -> Decimal:
    """What all of its runs could cost without a ceiling."""
    return wanted.times * sum((usd for row in bounds for usd in row), Decimal(0))


def _bound(api_key: ApiKey, prompt: Prompt, variant: Variant, place: int, now: datetime) -> Decimal:
    try:
        asked = Submission(request_of(prompt, variant), service_tier=variant.service_tier)
        try:
            return submission.check(api_key, asked, now).usd
        except DomainError:
            # A limit may have been raised or a price added just now.
            with reading_anew():
                return submission.check(api_key, asked, now).usd
    except DomainError as error:
        error.param = _param(error, prompt, place)
        raise


def _param(error: DomainError, prompt: Prompt, place: int) -> str:
    """Where the fault is in what was sent."""
    if isinstance(error, WordingHasNoPlace):
        return f"variants[{place}].wording"
    # The provider names no parameter where it does not know the model.
    param = error.param or ("model" if error.code == "model_not_found" else "")
    if param.startswith("messages"):
        # A prompt that is a text has no messages of its own to point into.
        return prompt.param + (param.removeprefix("messages") if prompt.param.endswith("messages") else "")
    return f"variants[{place}].{param}" if param else f"variants[{place}]"
