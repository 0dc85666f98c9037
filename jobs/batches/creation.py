"""A batch is made of a file that is there. Its lines are looked at afterwards, by `validating`."""

import re
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from accounts.models import ApiKey
from billing.clock import database_now
from jobs.batches import files
from jobs.batches.at_provider import choice
from jobs.batches.lines import ENDPOINT
from jobs.batches.states import Purpose
from jobs.models import Batch, File
from jobs.validation import RequestRejected

_WINDOW = re.compile(r"(?P<number>[1-9]\d{0,2})(?P<unit>[hd])")
SHORTEST_WINDOW, LONGEST_WINDOW = timedelta(hours=1), timedelta(days=7)
# Ten steps of ten minutes: what somebody waits for goes first, unless the line has waited that much longer.
PRIORITY = -10


@transaction.atomic
def create(
    api_key: ApiKey,
    *,
    input_file_id: UUID,
    endpoint: str,
    completion_window: str,
    metadata: dict[str, str] | None,
    output_expires_after: timedelta | None = None,
    max_cost_usd: Decimal | None = None,
    at_provider: bool | None = None,
) -> Batch:
    """The batch, to be validated. `max_cost_usd`: it never comes to more. Raises RequestRejected, as the provider would
    refuse it.

    `at_provider`: whether its lines may be sent through the provider's batch endpoint; None: where the project allows.
    """
    if endpoint != ENDPOINT:
        message = f"Invalid value: '{endpoint[:64]}'. Supported values are: '{ENDPOINT}'."
        raise RequestRejected(message, code="invalid_value", param="endpoint")
    window = window_of(completion_window)
    now = database_now()
    return Batch.objects.create(
        project=api_key.project,
        api_key=api_key,
        input_file=input_file(api_key, input_file_id),
        endpoint=endpoint,
        completion_window=completion_window,
        output_expires_after=output_expires_after or files.KEPT_FOR,
        metadata=metadata,
        at_provider=_at_provider(api_key, window, wanted=at_provider),
        priority=PRIORITY,
        max_cost_usd=max_cost_usd,
        created_at=now,
        expires_at=now + window,
    )


def _at_provider(api_key: ApiKey, window: timedelta, *, wanted: bool | None) -> bool:
    """Whether its lines may go there. Raises RequestRejected where they are to, and may not."""
    if wanted is False:
        return False
    is_allowed, is_long_enough = choice.may_run_there(api_key.project), window >= choice.WINDOW
    if wanted and not is_allowed:
        message = (
            "The project does not allow batches at the provider. Its administrators can, where its content is kept "
            "for a day or longer."
        )
        raise RequestRejected(message, code="at_provider_not_allowed", param="bursar.at_provider")
    if wanted and not is_long_enough:
        message = "The provider takes 24 hours for a batch: send a completion_window of '24h' or longer."
        raise RequestRejected(message, code="invalid_value", param="completion_window")
    return is_allowed and is_long_enough


def input_file(api_key: ApiKey, file_id: UUID, *, lock: bool = True) -> File:
    """A file that a batch may read, locked so that it is not erased meanwhile. Raises RequestRejected."""
    rows = files.files_of(api_key.project)
    found = (rows.select_for_update(no_key=True) if lock else rows).filter(pk=file_id).first()
    if found is None:
        raise RequestRejected(
            "There is no file of this id. Upload the requests to /v1/files with the purpose 'batch' first.",
            code="file_not_found",
            param="input_file_id",
            status=404,
        )
    if found.purpose != Purpose.BATCH:
        message = f"The purpose of this file is '{found.purpose}', and has to be 'batch'."
        raise RequestRejected(message, code="invalid_value", param="input_file_id")
    return found


def window_of(text: str) -> timedelta:
    """How long `24h` or `7d` is. Raises RequestRejected below an hour and above a week."""
    match = _WINDOW.fullmatch(text)
    if match:
        number = int(match["number"])
        window = timedelta(hours=number) if match["unit"] == "h" else timedelta(days=number)
        if SHORTEST_WINDOW <= window <= LONGEST_WINDOW:
            return window
    message = f"Invalid value: '{text[:64]}'. Send a number of hours or days from '1h' to '7d', such as '24h'."
    raise RequestRejected(message, code="invalid_value", param="completion_window")
