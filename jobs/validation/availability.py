"""Whether the model can be called at all: it exists, it runs, the tier allows it, and it speaks chat."""

from collections.abc import Mapping
from datetime import date

from accounts.models import UsageTier
from accounts.tiers import Standing, missing_for
from jobs.catalogue import CatalogueEntry
from jobs.models import LanguageModel
from jobs.models.catalogue import Endpoint
from jobs.responses import Unmappable, request_of
from jobs.validation.refusals import RequestRejected
from jobs.validation.request import PromptRequest

DEPRECATIONS_PAGE = "https://platform.openai.com/docs/deprecations"


def check_model(name: str, entry: CatalogueEntry | None) -> CatalogueEntry:
    if entry is None:
        raise RequestRejected(
            f"The model `{name}` does not exist or you do not have access to it.", code="model_not_found", status=404
        )
    return entry


def check_not_shut_down(entry: CatalogueEntry, day: date) -> None:
    if not entry.is_shut_down_on(day):
        return
    successor = entry.model.successor
    advice = f"use {successor} instead" if successor else "the provider names no replacement"
    raise RequestRejected(
        f"The model `{entry.name}` has been deprecated, learn more here: {DEPRECATIONS_PAGE}. "
        f"It was shut down on {entry.shutdown_on}; {advice}.",
        code="model_not_found",
        status=404,
    )


def check_tier(entry: CatalogueEntry, standing: Standing, tiers: Mapping[int, UsageTier]) -> None:
    number = entry.model.minimum_tier
    if standing.tier.number >= number:
        return
    needed = tiers.get(number)
    name, missing = (needed.name, f" Missing: {missing_for(needed, standing)}.") if needed else (f"tier {number}", "")
    raise RequestRejected(
        f"The model `{entry.name}` needs {name}, and this organization is at {standing.tier.name}.{missing}",
        code="tier_too_low",
        param="model",
        status=403,
    )


def check_endpoint(request: PromptRequest, model: LanguageModel, *, in_background: bool) -> None:
    """What is not served by chat is called in the background, as far as it can be said that way."""
    if Endpoint.CHAT in model.endpoints:
        return
    if not in_background:
        raise RequestRejected(
            "This model is only supported in v1/responses and not in v1/chat/completions.", param="model", status=404
        )
    try:
        request_of({"messages": request.messages, **request.parameters})
    except Unmappable as error:
        raise RequestRejected(
            f"This model is only supported in v1/responses, and '{error.name}' cannot be sent there as it is here.",
            code="unsupported_parameter",
            param=error.name,
        ) from error
