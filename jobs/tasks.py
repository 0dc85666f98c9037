"""Celery's entrances to the work. Messages carry ids only; what is true stands in PostgreSQL."""

from uuid import UUID

from celery import Task, shared_task

from jobs import dispatch as dispatching
from jobs import execution, idempotency, recovery, waking
from jobs.execution import engine as engines


@shared_task(bind=True)
def call_model(self: Task, attempt_ids: list[str]) -> None:
    ids = [UUID(attempt_id) for attempt_id in attempt_ids]
    engine = engines.running()
    if engine is None:  # no worker of calls, which starts one
        for attempt_id in ids:
            execution.execute(attempt_id, worker=self.request.hostname or "")
    elif left := engine.take_on(ids):
        dispatching.send(left)


@shared_task
def dispatch() -> None:
    dispatching.dispatch()


@shared_task
def rescue() -> None:
    if recovery.rescue():
        waking.wake()


@shared_task
def forget_idempotency_keys() -> None:
    idempotency.forget_old()
