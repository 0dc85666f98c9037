"""A batch is sent to the provider: its file, then itself.

Neither is idempotent there. A file twice costs nothing. A batch twice is paid twice, so that it is written down before
the provider is asked for one (`creating_at`); whoever finds that, and no id, looks for it there by our own id in its
metadata, and has it made again only after it was not to be found for ten minutes. Until then every line stays held.
"""

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import transaction

from billing.clock import database_now
from jobs.batches.at_provider.moving import move
from jobs.batches.at_provider.wire import NotKnown, Refused, Wire
from jobs.batches.lines import ENDPOINT
from jobs.batches.states import BatchStatus, LineStatus, ProviderBatchStatus
from jobs.crash_points import reach
from jobs.models import Attempt, Batch, ProviderBatch
from jobs.states import AttemptStatus

logger = logging.getLogger(__name__)

LINES_AT_ONCE = 200
# A refusal with one of these is about the moment: the same is asked for again.
PASSING = frozenset({401, 403, 409, 429})
AGAIN_AFTER = timedelta(seconds=60)
# One that was asked for and not answered is looked for this often, and so long before it is asked for again.
LOOKED_FOR_EVERY = timedelta(seconds=15)
LOOKED_FOR_WITHIN = timedelta(minutes=10)
# The provider's clock and ours may differ, and it states whole seconds.
CLOCKS_DIFFER = timedelta(minutes=10)
FIRST_LOOK_AFTER = timedelta(seconds=5)
REFUSED, LOST = "refused", "lost"


def is_unwanted(batch: Batch, now: datetime) -> bool:
    """Whether nobody waits for its answers any more: it is being cancelled, or its window is over."""
    return batch.status != BatchStatus.IN_PROGRESS or now >= batch.expires_at


def send(sent: ProviderBatch, wire: Wire) -> None:
    """Takes one that is to be sent a little further. Raises NotKnown where it is to be tried again later."""
    now = database_now()
    if sent.creating_at is not None:
        _look_for(sent, wire, now)
        return
    if is_unwanted(sent.batch, now):
        _withdraw(sent, "")
        return
    try:
        if not sent.input_file:
            reach("at_provider.sending")
            _upload(sent, wire)
        _create(sent, wire)
    except Refused as refusal:
        _refused(sent, refusal)


def _upload(sent: ProviderBatch, wire: Wire) -> None:
    sent.input_file = wire.upload(f"{sent.pk}.jsonl", b"".join(_lines(sent)))
    reach("at_provider.uploaded")
    ProviderBatch.objects.filter(pk=sent.pk, status=ProviderBatchStatus.SENDING).update(input_file=sent.input_file)


def _lines(sent: ProviderBatch) -> Iterator[bytes]:
    """The requests as the provider reads them, each under the id of its attempt."""
    last = 0
    while True:
        rows = sent.lines.filter(status=LineStatus.FED, number__gt=last).order_by("number")
        lines = list(rows.select_related("job__content")[:LINES_AT_ONCE])
        if not lines:
            return
        last = lines[-1].number
        jobs = [line.job_id for line in lines]
        batched = Attempt.objects.filter(job__in=jobs, fencing_token=sent.pk, status=AttemptStatus.BATCHED)
        attempts = dict(batched.values_list("job_id", "pk"))
        for line in lines:
            if line.job is None or line.job_id not in attempts:
                continue
            value = {
                "custom_id": str(attempts[line.job_id]),
                "method": "POST",
                "url": ENDPOINT,
                "body": line.job.content.request,
            }
            yield json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _create(sent: ProviderBatch, wire: Wire) -> None:
    """Has it made, by whoever notes first that it is being asked for."""
    ours = ProviderBatch.objects.filter(pk=sent.pk, status=ProviderBatchStatus.SENDING, creating_at__isnull=True)
    now = database_now()
    if not ours.update(creating_at=now, account=wire.account, look_at=now + LOOKED_FOR_EVERY):
        return
    reach("at_provider.creating")
    try:
        provider_id = wire.create(sent)
    except Refused:
        ProviderBatch.objects.filter(pk=sent.pk).update(creating_at=None)  # in its own words: there is none
        raise
    reach("at_provider.created")
    _accept(sent, provider_id)


def _look_for(sent: ProviderBatch, wire: Wire, now: datetime) -> None:
    """Looks for one that may have been made; one that was not, for long enough, is asked for again, or withdrawn."""
    assert sent.creating_at is not None, "it was asked for"
    try:
        provider_id = wire.find(sent.pk, sent.creating_at - CLOCKS_DIFFER)
    except Refused as refusal:
        raise NotKnown(f"the provider does not list its batches: {refusal}") from refusal
    if provider_id is not None:
        logger.warning("provider batch %s was found there as %s", sent.pk, provider_id)
        _accept(sent, provider_id)
        return
    if now < sent.creating_at + LOOKED_FOR_WITHIN:
        ProviderBatch.objects.filter(pk=sent.pk).update(look_at=now + LOOKED_FOR_EVERY)
        return
    if sent.account != wire.account:
        lose(
            sent, "account_changed", come_from=ProviderBatchStatus.SENDING
        )  # where it may be cannot be looked any more
        return
    logger.warning("provider batch %s was never made there", sent.pk)
    ours = ProviderBatch.objects.filter(pk=sent.pk, status=ProviderBatchStatus.SENDING, creating_at=sent.creating_at)
    ours.update(creating_at=None, look_at=now)


def _accept(sent: ProviderBatch, provider_id: str) -> None:
    """Its id is stored: from now on whoever looks learns what came of it."""
    now = database_now()
    move(
        sent.pk,
        to=ProviderBatchStatus.RUNNING,
        come_from=ProviderBatchStatus.SENDING,
        provider_id=provider_id,
        accepted_at=now,
        look_at=now + FIRST_LOOK_AFTER,
    )
    reach("at_provider.accepted")


def _refused(sent: ProviderBatch, refusal: Refused) -> None:
    """Passing refusals are tried again; after any other its lines run as ordinary jobs, and so do those after them."""
    logger.warning("provider batch %s was refused: %s", sent.pk, refusal)
    if refusal.status in PASSING:
        ProviderBatch.objects.filter(pk=sent.pk).update(
            look_at=database_now() + AGAIN_AFTER, error_code=(refusal.code or str(refusal.status))[:100]
        )
        return
    with transaction.atomic():
        Batch.objects.filter(pk=sent.batch_id).update(at_provider=False)
        _withdraw(sent, refusal.code or str(refusal.status))


def lose(sent: ProviderBatch, code: str, *, come_from: ProviderBatchStatus) -> None:
    """Nobody will learn from it what became of its lines: they are in doubt, and stay held."""
    logger.error("provider batch %s is lost: %s", sent.pk, code)
    now = database_now()
    said = {"provider_status": LOST, "error_code": code, "ended_at": now, "look_at": now}
    move(sent.pk, to=ProviderBatchStatus.SETTLING, come_from=come_from, **said)


def _withdraw(sent: ProviderBatch, code: str) -> None:
    """Nothing of it is at the provider; its lines wait again, a few at a time."""
    move(
        sent.pk,
        to=ProviderBatchStatus.SETTLING,
        come_from=ProviderBatchStatus.SENDING,
        provider_status=REFUSED if code else "",
        error_code=code[:100],
        look_at=database_now(),
    )
