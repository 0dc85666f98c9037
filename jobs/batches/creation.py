"""A batch is made of a file that is there. Its lines are looked at afterwards, by `validating`."""

import re
from datetime import timedelta
from uuid import UUID

from django.db import transaction

from accounts.models import ApiKey
from billing.clock import database_now
from jobs.batches import files
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
) -> Batch:
    """The batch, to be validated. Raises RequestRejected, as the provider would refuse it."""
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
        priority=PRIORITY,
        created_at=now,
        expires_at=now + window,
    )


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
