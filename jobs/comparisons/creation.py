"""A comparison is checked, stored with all its runs, and fed as far as its ceiling allows: all of it, or nothing."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.db import transaction

from accounts.models import ApiKey
from billing.clock import database_now, nearly_now
from jobs.backlog import check_room
from jobs.comparisons import checking, feeding
from jobs.comparisons.requests import CAP, EFFORT, Prompt, Variant, Wanted, in_order, named
from jobs.models import Comparison, ComparisonRun

# Behind what somebody sends by hand in the same minutes, and before batches.
PRIORITY = -5


def create(api_key: ApiKey, wanted: Wanted) -> Comparison:
    """The comparison, whose first runs are queued. Raises what `checking.bounds_of` raises, and BacklogFull."""
    check_room(api_key.project)
    bounds = checking.bounds_of(api_key, wanted, nearly_now())
    with transaction.atomic():
        comparison = _store(api_key, wanted, bounds)
        feeding.feed(comparison, api_key)
    return comparison


def _store(api_key: ApiKey, wanted: Wanted, bounds: Sequence[Sequence[Decimal]]) -> Comparison:
    variants = named(wanted.variants)
    comparison = Comparison.objects.create(
        project=api_key.project,
        api_key=api_key,
        name=wanted.name,
        max_cost_usd=wanted.max_cost_usd,
        times=wanted.times,
        baseline=wanted.baseline + 1,
        priority=PRIORITY,
        prompt_names=[prompt.name for prompt in wanted.prompts],
        variants=[_told(variant) for variant in variants],
        content=content_of(wanted.prompts, variants),
        created_at=database_now(),
    )
    ComparisonRun.objects.bulk_create(
        ComparisonRun(
            comparison=comparison,
            number=number,
            prompt=prompt,
            variant=variant,
            round=turn,
            bound_usd=bounds[prompt - 1][variant - 1],
        )
        for number, (turn, prompt, variant) in enumerate(in_order(wanted), start=1)
    )
    return comparison


def _told(variant: Variant) -> dict[str, Any]:
    return {
        "name": variant.name,
        "model": variant.model,
        "service_tier": variant.service_tier.value,
        EFFORT: variant.effort,
        CAP: variant.cap,
    }


def content_of(prompts: Sequence[Prompt], variants: Sequence[Variant]) -> dict[str, Any]:
    """What people wrote, and what may hold words of theirs: the parameters, which may be tools and schemas."""
    return {
        "prompts": [prompt.messages for prompt in prompts],
        "variants": [{"wording": one.wording, "parameters": dict(one.parameters)} for one in variants],
    }
