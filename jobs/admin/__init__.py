"""Admin pages of `jobs`: what ran, what it cost and what it waits for, shown only; and the model catalogue, edited."""

from jobs.admin import batches, breakers, catalogue, contents, doubts, jobs, queues, undelivered, workers
from jobs.admin.comparisons import pages as comparisons

__all__ = [
    "batches",
    "breakers",
    "catalogue",
    "comparisons",
    "contents",
    "doubts",
    "jobs",
    "queues",
    "undelivered",
    "workers",
]
