"""The tables of `jobs`, one noun a file."""

from jobs.models.attempts import Attempt
from jobs.models.catalogue import LanguageModel, ModelSnapshot
from jobs.models.idempotency import IdempotencyRecord
from jobs.models.jobs import Job, JobContent
from jobs.models.queues import Queue, Share
from jobs.models.workers import Worker

__all__ = [
    "Attempt",
    "IdempotencyRecord",
    "Job",
    "JobContent",
    "LanguageModel",
    "ModelSnapshot",
    "Queue",
    "Share",
    "Worker",
]
