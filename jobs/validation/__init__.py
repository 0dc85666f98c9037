"""What a request may hold: checked against the catalogue before it costs anything, and refused as the provider would.

Texts are the provider's own where its refusal was recorded in public (issues and threads of 2024 to 2026), and name the
field, the limit and the way out where none was. What the rules need of a model stands in its row, never here; nothing
here reads the database.

Two rules are the same for every model. A parameter of null is one that was not sent. And a default that is sent
explicitly passes, also where the model takes no other value of it.
"""

from collections.abc import Mapping
from datetime import date

from accounts.models import UsageTier
from accounts.tiers import Standing
from jobs.catalogue import CatalogueEntry
from jobs.validation.availability import check_endpoint, check_model, check_not_shut_down, check_tier
from jobs.validation.messages import check_messages
from jobs.validation.parameters import check_parameters
from jobs.validation.refusals import RequestRejected
from jobs.validation.request import PromptRequest

__all__ = ["PromptRequest", "RequestRejected", "validate", "validate_size"]


def validate(
    request: PromptRequest,
    entry: CatalogueEntry | None,
    *,
    standing: Standing,
    tiers: Mapping[int, UsageTier],
    day: date,
    serves_shut_down_models: bool,
    in_background: bool = False,
) -> None:
    """All that needs no count of tokens; raises RequestRejected at the first fault. `tiers`: those of `day`, by number.

    An entry of None is a model that the catalogue does not know. `service_tier` is the caller's: its price decides.
    `in_background`: its calls may be made by the Responses API.
    """
    entry = check_model(request.model, entry)
    if not serves_shut_down_models:
        check_not_shut_down(entry, day)
    check_tier(entry, standing, tiers)
    check_messages(request.messages, entry.model)
    check_parameters(request.parameters, entry)
    check_endpoint(request, entry.model, in_background=in_background)


def validate_size(request: PromptRequest, entry: CatalogueEntry, *, prompt_tokens: int) -> None:
    """Refuse a prompt that the context window does not hold, alone or together with the cap on its completion."""
    window, cap = entry.model.context_window, request.cap
    if prompt_tokens > window:
        raise RequestRejected(
            f"This model's maximum context length is {window} tokens. However, your messages resulted in "
            f"{prompt_tokens} tokens. Please reduce the length of the messages.",
            code="context_length_exceeded",
            param="messages",
        )
    if cap is not None and prompt_tokens + cap > window:
        raise RequestRejected(
            f"This model's maximum context length is {window} tokens. However, you requested {prompt_tokens + cap} "
            f"tokens ({prompt_tokens} in the messages, {cap} in the completion). Please reduce the length of the "
            "messages or completion.",
            code="context_length_exceeded",
            param="messages",
        )
