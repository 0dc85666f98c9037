"""T1: a prompt comes in.

It is checked, bounded and queued, and what can never run is refused here, before it costs anything.

A job is let in by what was known a second ago: prices, tiers, limits, the catalogue. Nothing is lost by that, because
the dispatcher looks again before it holds a cent. A refusal is given after reading anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from accounts.errors import DomainError
from accounts.models import AdviceRule, ApiKey, Organization, Project
from accounts.remembered import reading_anew, remembered
from accounts.tiers import Standing, rate_limit, standing, tiers_on
from billing.amounts import at_most
from billing.budgets import limits_of, owner_of, state_of
from billing.clock import nearly_now
from billing.errors import LimitTooSmall
from billing.grants import Likely, first_short, ways_to_hold
from billing.limits import Limit, Owner
from billing.models import ServiceTier
from billing.money import amount_of, usd
from billing.prices import price_on, terms_of
from billing.pricing import PriceTerms
from billing.reserves import risk_of
from jobs import catalogue, waking
from jobs.advice import refusing
from jobs.advice.advice import Advice
from jobs.advice.rules import advise
from jobs.advice.situations import situation_of
from jobs.background.choice import runs_in_background
from jobs.backlog import check_room
from jobs.crash_points import reach
from jobs.credentials import access_of
from jobs.errors import MaxCostTooSmall, RateLimitUnknown, RequestTooLarge
from jobs.estimates import Bound, PromptSize, bound_of, prompt_size
from jobs.insertion import insert
from jobs.learning.likely import likely_by
from jobs.learning.predictions import Likeness, likeness_of, predict
from jobs.models import Job, JobContent, Queue
from jobs.models.catalogue import Endpoint
from jobs.prefixes import prefix_of
from jobs.queues import queue_of
from jobs.validation import PromptRequest, RequestRejected, validate, validate_size

_tiers_on, _rate_limit, _price_on = remembered()(tiers_on), remembered()(rate_limit), remembered()(price_on)


@dataclass(frozen=True, slots=True)
class Submission:
    """What a caller asks for: the request for the provider, and how Bursar is to treat it."""

    prompt: PromptRequest
    metadata: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    service_tier: ServiceTier = ServiceTier.STANDARD
    max_cost_usd: Decimal | None = None
    # A price that rises before its call fails it then, because others have been promised the rest.
    is_held_to_its_bound: bool = False
    deadline: datetime | None = None
    # What an endpoint of the provider's other than chat says again of the request when it shows the job.
    asked: Mapping[str, Any] | None = None
    # Somebody waits, and reads the answer while it is made.
    wants_stream: bool = False
    # Who sent it reads advice on the prompt. Nobody reads it on the lines of a batch.
    wants_advice: bool = False
    ignored_advice: frozenset[AdviceRule] = frozenset()


def submit(api_key: ApiKey, submission: Submission) -> Job:
    """The queued job, with the advice on its prompt. One statement writes it, in the caller's transaction if any.

    The dispatcher is woken when that has committed. Raises BacklogFull, AdviceBlocks, RequestRejected with the
    provider's own wording, UnknownPrice, RateLimitUnknown, RequestTooLarge, MaxCostTooSmall, and LimitTooSmall where
    the call would not fit even into an untouched budget.
    """
    project = api_key.project
    check_room(project)
    now = nearly_now()
    check_deadline(submission, now)
    try:
        bound = check(api_key, submission, now)
    except DomainError:
        # A limit may have been raised or a price added just now.
        with reading_anew():
            bound = check(api_key, submission, now)
    like = likeness_of(project, submission.prompt, bound)
    advice = advice_on(project, submission, like, now) if submission.wants_advice else ()
    refusing.check(project, advice)
    job = job_of(api_key, submission, bound, now, like)
    job.advice = advice
    insert(job, JobContent(job=job, request=body_for_provider(submission), asked=submission.asked))
    transaction.on_commit(_committed)
    reach("t1.written")
    return job


def check_deadline(submission: Submission, now: datetime) -> None:
    """Raises RequestRejected where the job could not start before its deadline any more."""
    if submission.deadline is not None and submission.deadline <= now:
        raise RequestRejected(
            f"The deadline {submission.deadline.isoformat()} has passed; send a later one or none.", param="deadline"
        )


def job_of(api_key: ApiKey, submission: Submission, bound: Bound, now: datetime, like: Likeness | None = None) -> Job:
    """The job of a submission that was checked, not stored. `like`: what its prompt is like, where that is known."""
    project, prompt = api_key.project, submission.prompt
    like = like or likeness_of(project, prompt, bound)
    prediction = predict(like, bound, lambda: _price_of(project.organization, submission, now))
    return Job(
        organization_id=project.organization_id,
        project=project,
        queue=_queue(project, prompt.model),
        api_key_id=api_key.pk,
        created_by_id=api_key.created_by_id,
        model=prompt.model,
        service_tier=submission.service_tier,
        priority=submission.priority,
        metadata=submission.metadata,
        max_cost_usd=bound.usd if submission.is_held_to_its_bound else submission.max_cost_usd,
        deadline=submission.deadline,
        wants_stream=submission.wants_stream,
        bound_input_tokens=bound.input_tokens,
        bound_output_tokens=bound.output_tokens,
        bound_usd=bound.usd,
        admission_tokens=bound.admission_tokens,
        prompt_prefix=prefix_of(project.organization_id, prompt.messages, prompt.parameters, bound.input_tokens),
        queued_at=now,
        **prediction.columns,
    )


def _price_of(organization: Organization, submission: Submission, now: datetime) -> PriceTerms:
    entry = catalogue.find(submission.prompt.model)
    assert entry is not None  # the submission was checked
    return price_now(organization, submission, entry, now)


def _committed() -> None:
    reach("t1.committed")
    waking.wake()


def _queue(project: Project, model: str) -> Queue:
    """The queue of the project's jobs for a model, not read: what it waits on is for whoever looks at the job later."""
    family = catalogue.family_of(model)
    return Queue(id=queue_of(project, family), project=project, family=family)


def check(api_key: ApiKey, submission: Submission, now: datetime) -> Bound:
    """The bound of a submission that may run; raises what `submit` raises."""
    prompt, organization = submission.prompt, api_key.project.organization
    entry = validated(api_key.project, prompt, now)
    price = price_now(organization, submission, entry, now)
    bound = bound_at(submission, entry, price)
    _check_rate_limit(organization, _standing_of(organization), entry, bound, now)
    _check_budgets(owner_of(api_key, entry.model.name), submission, bound, price)
    return bound


def advice_on(project: Project, submission: Submission, like: Likeness, now: datetime) -> tuple[Advice, ...]:
    """Advice on the prompt of a submission that was checked, but for what its sender ignores."""
    prompt, organization = submission.prompt, project.organization
    entry = catalogue.find(prompt.model)
    assert entry is not None  # it was checked
    price = price_now(organization, submission, entry, now)
    situation = situation_of(
        prompt,
        entry,
        price,
        like.expectation(price),
        tier=_standing_of(organization).tier.number,
        day=organization.terms_date(now),
    )
    return tuple(one for one in advise(prompt.messages, situation) if one.rule not in submission.ignored_advice)


def validated(project: Project, prompt: PromptRequest, now: datetime) -> catalogue.CatalogueEntry:
    """The model of a prompt that it and the project's tier take; raises RequestRejected. No token is counted."""
    organization = project.organization
    day = organization.terms_date(now)
    entry = catalogue.find(prompt.model)
    access = access_of(project)
    validate(
        prompt,
        entry,
        standing=_standing_of(organization),
        tiers=_tiers_on(day),
        day=day,
        serves_shut_down_models=access.serves_shut_down_models,
        in_background=entry is not None
        and project.content_retention_days != 0
        and runs_in_background(entry.model, access.base_url),
    )
    assert entry is not None  # validate refuses an unknown model
    return entry


def price_now(
    organization: Organization, submission: Submission, entry: catalogue.CatalogueEntry, now: datetime
) -> PriceTerms:
    """What a submission's tokens cost at the prices in force; raises UnknownPrice."""
    names = catalogue.provider_price_names(entry)
    return terms_of(_price_on(names, submission.service_tier, organization.terms_date(now)))


def bound_at(submission: Submission, entry: catalogue.CatalogueEntry, price: PriceTerms) -> Bound:
    """The most that a validated submission can take at a price; raises RequestRejected for what no window holds."""
    prompt = submission.prompt
    return bound_of(prompt, sized(prompt, entry), max_output_tokens=entry.max_output_tokens, price=price)


def sized(prompt: PromptRequest, entry: catalogue.CatalogueEntry) -> PromptSize:
    """How large a validated prompt is; raises RequestRejected for what no window holds. Its tokens are counted."""
    size = prompt_size(prompt, has_responses=Endpoint.RESPONSES in entry.model.endpoints)
    validate_size(prompt, entry, prompt_tokens=size.counted_tokens)
    return size


def body_for_provider(submission: Submission) -> dict[str, Any]:
    """The request body as the provider gets it, before what Bursar adds to each attempt."""
    prompt = submission.prompt
    body = {"model": prompt.model, "messages": prompt.messages, **prompt.parameters}
    # The tier of a batch is not asked for: it is the price of the endpoint through which the line is sent.
    if submission.service_tier not in (ServiceTier.STANDARD, ServiceTier.BATCH):
        body["service_tier"] = submission.service_tier.value
    return body


def _check_rate_limit(
    organization: Organization, stands: Standing, entry: catalogue.CatalogueEntry, bound: Bound, now: datetime
) -> None:
    limit = _rate_limit(stands.tier.number, entry.model.family, organization.terms_date(now))
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


def _check_budgets(owner: Owner, submission: Submission, bound: Bound, price: PriceTerms) -> None:
    if submission.max_cost_usd is not None and bound.usd > submission.max_cost_usd:
        raise MaxCostTooSmall(
            f"One call can cost up to {usd(bound.usd)} USD, more than its max_cost_usd of "
            f"{usd(submission.max_cost_usd)}. Raise it, shorten the prompt or lower max_completion_tokens.",
            param="max_cost_usd",
        )
    limits = _limits_of(owner)
    rooms = [(limit, limit.amount) for limit in limits]
    amounts = at_most(bound.usd, input_tokens=bound.input_tokens, output_tokens=bound.output_tokens)
    limit = first_short([amounts], rooms)
    if limit is not None and any(each.is_reserve for each in limits):
        # Rare enough to look up what is likely only now.
        likely = likely_to_cost(owner.project, submission, bound, price)
        limit = first_short(ways_to_hold(amounts, likely, limits), rooms)
    if limit is not None:
        required = amounts.of(limit.measure)
        raise LimitTooSmall(
            f"One call can come to {amount_of(limit.measure, required)}, more than the whole limit of "
            f"{amount_of(limit.measure, limit.amount)} of {limit.scope.value} '{limit.name}'. Shorten the prompt, "
            "lower max_completion_tokens or have the limit raised.",
            budget=state_of(limit, None).describe(required),
        )


def likely_to_cost(project: Project, submission: Submission, bound: Bound, price: PriceTerms) -> Likely | None:
    """What a submission's call will probably not exceed, where its organization keeps a reserve."""
    risk = risk_of(project.organization_id)
    if risk is None:
        return None
    like = likeness_of(project, submission.prompt, bound)
    return likely_by(like.learnt, risk, bound.input_tokens, bound.output_tokens, lambda: price)


@remembered()
def _standing_of(organization: Organization) -> Standing:
    return standing(organization, nearly_now())


@remembered()
def _limits_of(owner: Owner) -> tuple[Limit, ...]:
    return limits_of(owner, nearly_now())
