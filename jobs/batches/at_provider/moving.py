"""Changing the status of batches at the provider: by compare-and-set, along the legal steps alone."""

from typing import Any
from uuid import UUID

from jobs.batches.states import PROVIDER_BATCH_TRANSITIONS, ProviderBatchStatus
from jobs.models import ProviderBatch
from jobs.transitions import IllegalTransition


def move(pk: UUID, *, to: ProviderBatchStatus, come_from: ProviderBatchStatus, **fields: Any) -> bool:
    """Whether it was in the given status and has moved; False when somebody else was first."""
    if to not in PROVIDER_BATCH_TRANSITIONS[come_from]:
        raise IllegalTransition(f"provider batch: {come_from} -> {to}")
    return ProviderBatch.objects.filter(pk=pk, status=come_from).update(status=to, **fields) == 1
