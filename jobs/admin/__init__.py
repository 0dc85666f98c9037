"""Admin pages of `jobs`: what ran, what it cost and what it waits for, shown only; and the model catalogue, edited."""

from jobs.admin import catalogue, contents, jobs, queues, workers

__all__ = ["catalogue", "contents", "jobs", "queues", "workers"]
