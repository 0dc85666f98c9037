"""The tables of `jobs`, one noun a file."""

from jobs.models.attempts import Attempt
from jobs.models.batches import Batch, BatchLine, File, FileChunk
from jobs.models.breakers import Breaker, BreakerReason
from jobs.models.catalogue import LanguageModel, ModelSnapshot
from jobs.models.comparisons import Comparison, ComparisonRun
from jobs.models.doubts import Doubt
from jobs.models.jobs import Job, JobContent
from jobs.models.learning import Calibration, Distribution, Unlearnt
from jobs.models.provider_batches import ProviderBatch
from jobs.models.queues import Queue, Share
from jobs.models.undelivered import Undelivered
from jobs.models.waste import WasteLine, WasteReport
from jobs.models.workers import Watch, Worker

__all__ = [
    "Attempt",
    "Batch",
    "BatchLine",
    "Breaker",
    "BreakerReason",
    "Calibration",
    "Comparison",
    "ComparisonRun",
    "Distribution",
    "Doubt",
    "File",
    "FileChunk",
    "Job",
    "JobContent",
    "LanguageModel",
    "ModelSnapshot",
    "ProviderBatch",
    "Queue",
    "Share",
    "Undelivered",
    "Unlearnt",
    "WasteLine",
    "WasteReport",
    "Watch",
    "Worker",
]
