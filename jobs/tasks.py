"""Celery's entrances to the work. Messages carry ids only; what is true stands in PostgreSQL."""

from uuid import UUID

from celery import Task, shared_task

from jobs import dispatch as dispatching
from jobs import execution, idempotency, recovery


@shared_task(bind=True)
def call_model(self: Task, attempt_id: str) -> None:
    execution.execute(UUID(attempt_id), worker=self.request.hostname or "")


@shared_task
def dispatch() -> None:
    dispatching.dispatch()


@shared_task
def rescue() -> None:
    if recovery.rescue():
        dispatching.wake()


@shared_task
def forget_idempotency_keys() -> None:
    idempotency.forget_old()
