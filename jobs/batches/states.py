"""The states of a file, of a batch and of its lines, and every legal step between those of a batch."""

from django.db import models


class Purpose(models.TextChoices):
    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"
    FETCHED = "fetched"  # what the provider wrote; nobody sees it


class FileStatus(models.TextChoices):
    WRITING = "writing"  # it is being sent, or a batch writes it; nobody sees it
    PROCESSED = "processed"  # whole; the provider's own word
    ERASED = "erased"  # deleted or expired: its content is gone, what is known of it stays


class BatchStatus(models.TextChoices):
    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class LineStatus(models.TextChoices):
    WAITING = "waiting"  # no job yet
    FED = "fed"  # its job is on its way
    COMPLETED = "completed"  # the model answered, be it that it stopped at its cap
    FAILED = "failed"  # it was refused, or its job has failed
    EXPIRED = "expired"  # it had not started when the window ended
    CANCELLED = "cancelled"  # its batch, or its job alone, was cancelled before its call


class ProviderBatchStatus(models.TextChoices):
    FILLING = "filling"  # lines are held for it; nothing was sent
    SENDING = "sending"  # its file and itself are on their way, and whether it is there may not be known
    RUNNING = "running"  # the provider works on it, and its id there is known
    ENDED = "ended"  # the provider has ended it; its files are to be fetched
    SETTLING = "settling"  # what became of its lines is known, and booked line by line
    CLOSED = "closed"  # all of them are booked


BATCH_TRANSITIONS: dict[BatchStatus, set[BatchStatus]] = {
    BatchStatus.VALIDATING: {
        BatchStatus.IN_PROGRESS,  # every line is valid
        BatchStatus.FAILED,  # some are not; nothing was run
        BatchStatus.CANCELLING,
    },
    BatchStatus.IN_PROGRESS: {
        BatchStatus.FINALIZING,  # every line has ended
        BatchStatus.CANCELLING,
    },
    BatchStatus.FINALIZING: {
        BatchStatus.COMPLETED,  # the files are written
        BatchStatus.EXPIRED,  # the same, and some lines had not started in time
    },
    BatchStatus.CANCELLING: {
        BatchStatus.CANCELLED,  # what ran has ended, and the files are written
    },
    BatchStatus.FAILED: set(),
    BatchStatus.COMPLETED: set(),
    BatchStatus.EXPIRED: set(),
    BatchStatus.CANCELLED: set(),
}
PROVIDER_BATCH_TRANSITIONS: dict[ProviderBatchStatus, set[ProviderBatchStatus]] = {
    ProviderBatchStatus.FILLING: {
        ProviderBatchStatus.SENDING,  # it is full, or nothing more fits
        ProviderBatchStatus.SETTLING,  # nobody wants it any more; nothing was sent
    },
    ProviderBatchStatus.SENDING: {
        ProviderBatchStatus.RUNNING,  # the provider has told its id, or it was found there
        ProviderBatchStatus.SETTLING,  # the provider refused it, or nobody wants it any more
    },
    ProviderBatchStatus.RUNNING: {
        ProviderBatchStatus.ENDED,  # with answers perhaps
        ProviderBatchStatus.SETTLING,  # it failed as a whole, or the provider does not know it any more
    },
    ProviderBatchStatus.ENDED: {
        ProviderBatchStatus.SETTLING,  # its files are here, or not to be had any more
    },
    ProviderBatchStatus.SETTLING: {
        ProviderBatchStatus.CLOSED,  # every line is booked
    },
    ProviderBatchStatus.CLOSED: set(),
}
BATCH_FINAL = frozenset(status for status, steps in BATCH_TRANSITIONS.items() if not steps)
BATCH_ACTIVE = frozenset(BATCH_TRANSITIONS) - BATCH_FINAL
