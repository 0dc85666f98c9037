"""T1: a prompt comes in.

It is checked, bounded and queued, and what can never run is refused here, before it costs anything.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from accounts.models import ApiKey, Organization
from accounts.tiers import Standing, rate_limit, standing, tiers_on
from billing.amounts import at_most
from billing.budgets import limits_of, owner_of, state_of
from billing.clock import database_now
from billing.errors import LimitTooSmall
from billing.limits import Owner
from billing.models import ServiceTier
from billing.money import amount_of, usd
from billing.prices import price_on, terms_of
from jobs import catalogue, dispatch
from jobs.credentials import access_of
from jobs.errors import MaxCostTooSmall, RateLimitUnknown, RequestTooLarge
from jobs.estimates import Bound, bound_of, prompt_size
from jobs.models import Job, JobContent
from jobs.validation import PromptRequest, RequestRejected, validate, validate_size


@dataclass(frozen=True, slots=True)
class Submission:
    """What a caller asks for: the request for the provider, and how Bursar is to treat it."""

    prompt: PromptRequest
    metadata: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    service_tier: ServiceTier = ServiceTier.STANDARD
    max_cost_usd: Decimal | None = None
    deadline: datetime | None = None


def submit(api_key: ApiKey, submission: Submission) -> Job:
    """The queued job. Runs in the caller's transaction; the dispatcher is woken when that commits.

    Raises RequestRejected with the provider's own wording, UnknownPrice, RateLimitUnknown, RequestTooLarge,
    MaxCostTooSmall, and LimitTooSmall where the call would not fit even into an untouched budget.
    """
    project = api_key.project
    now = database_now()
    if submission.deadline is not None and submission.deadline <= now:
        raise RequestRejected(
            f"The deadline {submission.deadline.isoformat()} has passed; send a later one or none.", param="deadline"
        )
    bound = check(api_key, submission, now)
    job = Job.objects.create(
        organization=project.organization,
        project=project,
        api_key=api_key,
        created_by=api_key.created_by,
        model=submission.prompt.model,
        service_tier=submission.service_tier,
        priority=submission.priority,
        metadata=submission.metadata,
        max_cost_usd=submission.max_cost_usd,
        deadline=submission.deadline,
        bound_input_tokens=bound.input_tokens,
        bound_output_tokens=bound.output_tokens,
        bound_usd=bound.usd,
        admission_tokens=bound.admission_tokens,
        queued_at=now,
    )
    JobContent.objects.create(job=job, request=body_for_provider(submission))
    transaction.on_commit(dispatch.wake)
    return job


def check(api_key: ApiKey, submission: Submission, now: datetime) -> Bound:
    """The bound of a submission that may run; raises what `submit` raises."""
    project, prompt = api_key.project, submission.prompt
    organization = project.organization
    day = organization.terms_date(now)
    entry = catalogue.find(prompt.model)
    stands = standing(organization, now)
    serves_shut_down = access_of(project).serves_shut_down_models
    validate(prompt, entry, standing=stands, tiers=tiers_on(day), day=day, serves_shut_down_models=serves_shut_down)
    assert entry is not None  # validate refuses an unknown model
    size = prompt_size(prompt)
    validate_size(prompt, entry, prompt_tokens=size.counted_tokens)
    price = price_on(catalogue.provider_price_names(entry), submission.service_tier, day)
    bound = bound_of(prompt, size, max_output_tokens=entry.max_output_tokens, price=terms_of(price))
    _check_rate_limit(organization, stands, entry, bound, now)
    _check_budgets(owner_of(api_key, entry.model.name), submission, bound, now)
    return bound


def body_for_provider(submission: Submission) -> dict[str, Any]:
    """The request body as the provider gets it, before what Bursar adds to each attempt."""
    prompt = submission.prompt
    body = {"model": prompt.model, "messages": prompt.messages, **prompt.parameters}
    if submission.service_tier != ServiceTier.STANDARD:
        body["service_tier"] = submission.service_tier.value
    return body


def _check_rate_limit(
    organization: Organization, stands: Standing, entry: catalogue.CatalogueEntry, bound: Bound, now: datetime
) -> None:
    limit = rate_limit(stands.tier.number, entry.model.family, organization.terms_date(now))
    if limit is None:
        raise RateLimitUnknown(
            f"No rate limit is known for model '{entry.name}' at usage tier {stands.tier.number}, so no call of it may "
            "start. An administrator can add it under Accounts > Rate limits.",
            param="model",
        )
    if limit.tokens_per_minute is not None and bound.admission_tokens > limit.tokens_per_minute:
        raise RequestTooLarge(
            f"Request too large for {entry.name}: one call may count for {limit.tokens_per_minute} tokens per minute "
            f"(TPM) at usage tier {stands.tier.number}, and this one counts for {bound.admission_tokens}. Shorten the "
            "prompt or lower max_completion_tokens.",
            param="max_completion_tokens" if bound.admission_tokens == bound.output_tokens else "messages",
        )


def _check_budgets(owner: Owner, submission: Submission, bound: Bound, now: datetime) -> None:
    if submission.max_cost_usd is not None and bound.usd > submission.max_cost_usd:
        raise MaxCostTooSmall(
            f"One call can cost up to {usd(bound.usd)} USD, more than its max_cost_usd of "
            f"{usd(submission.max_cost_usd)}. Raise it, shorten the prompt or lower max_completion_tokens.",
            param="max_cost_usd",
        )
    amounts = at_most(bound.usd, input_tokens=bound.input_tokens, output_tokens=bound.output_tokens)
    for limit in limits_of(owner, now):
        required = amounts.of(limit.measure)
        if limit.is_hard and required > limit.amount:
            raise LimitTooSmall(
                f"One call can come to {amount_of(limit.measure, required)}, more than the whole limit of "
                f"{amount_of(limit.measure, limit.amount)} of {limit.scope.value} '{limit.name}'. Shorten the prompt, "
                "lower max_completion_tokens or have the limit raised.",
                budget=state_of(limit, None).describe(required),
            )
