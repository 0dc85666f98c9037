"""Admin pages of `jobs`: what ran, what it cost and what it waits for, shown only; and the model catalogue, edited."""

from jobs.admin import batches, breakers, catalogue, contents, doubts, jobs, queues, workers

__all__ = ["batches", "breakers", "catalogue", "contents", "doubts", "jobs", "queues", "workers"]
