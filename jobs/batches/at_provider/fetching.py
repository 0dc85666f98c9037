"""The files of a batch that has ended are fetched as they come, in pieces, and read from here afterwards."""

import logging
from collections.abc import Iterator

from accounts.models import Project
from billing.clock import database_now
from jobs.batches import files
from jobs.batches.at_provider.moving import move
from jobs.batches.at_provider.sending import LOST
from jobs.batches.at_provider.wire import NotKnown, Refused, Wire
from jobs.batches.states import ProviderBatchStatus, Purpose
from jobs.crash_points import reach
from jobs.models import File, ProviderBatch

logger = logging.getLogger(__name__)

# The provider has deleted it, or never wrote it.
GONE = 404


def fetch(ended: ProviderBatch, wire: Wire) -> None:
    """Stores what the provider wrote; whoever fetches the same at once is second, and throws its own away.

    Raises NotKnown where it is to be tried again later.
    """
    fetched: list[File | None] = []
    try:
        for file_id in (ended.output_file, ended.error_file):
            fetched.append(_stored(ended.batch.project, wire.content(file_id), fetched) if file_id else None)
        is_gone = False
    except Refused as refusal:
        _forget(fetched)
        if refusal.status != GONE:
            raise NotKnown(str(refusal)) from refusal
        logger.error("what provider batch %s answered is not there any more", ended.pk)
        fetched, is_gone = [None, None], True
    except BaseException:
        _forget(fetched)
        raise
    answers, refusals = fetched
    said = {"provider_status": LOST, "error_code": "files_gone"} if is_gone else {}
    moved = move(
        ended.pk,
        to=ProviderBatchStatus.SETTLING,
        come_from=ProviderBatchStatus.ENDED,
        answers=answers,
        refusals=refusals,
        look_at=database_now(),
        **said,
    )
    if not moved:
        _forget(fetched)
    reach("at_provider.fetched")


def _stored(project: Project, pieces: Iterator[bytes], fetched: list[File | None]) -> File:
    """A file that nobody sees, with what comes; each piece is a transaction of its own, and none is kept in memory."""
    file = File.objects.create(
        project=project, filename="answers.jsonl", purpose=Purpose.FETCHED, created_at=database_now()
    )
    try:
        for piece in pieces:
            files.append(file, piece)
    except BaseException:
        file.delete()
        raise
    file.save(update_fields=["bytes"])
    return file


def _forget(fetched: list[File | None]) -> None:
    for file in fetched:
        if file is not None:
            file.delete()
