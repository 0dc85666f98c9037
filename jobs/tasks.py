"""Celery's entrances to the work. Messages carry ids only; what is true stands in PostgreSQL."""

from uuid import UUID

from celery import Task, shared_task

from accounts import idempotency
from jobs import dispatch as dispatching
from jobs import erasure, execution, queues, reconciliation, recovery, waking
from jobs.background import adoption, looking
from jobs.batches import files, steps
from jobs.batches.at_provider import looking as looking_at_batches
from jobs.comparisons import steps as comparison_steps
from jobs.execution import engine as engines
from jobs.front_door import undelivered
from jobs.learning import folding
from jobs.recovery import decisions, looks
from jobs.waste import preparing


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
    dispatching.dispatch_in_turn()


@shared_task
def limits_changed(organization_id: str) -> None:
    queues.resume_short(UUID(organization_id))
    waking.wake()


@shared_task
def rescue() -> None:
    if recovery.rescue():
        waking.wake()


@shared_task
def look_up() -> None:
    if looks.look_up() + decisions.decide_by_policy():
        waking.wake()


@shared_task
def look_at_background() -> None:
    looking.look()


@shared_task
def adopt_response(response_id: str) -> None:
    adoption.adopt(response_id)


@shared_task
def forget_idempotency_keys() -> None:
    idempotency.forget_old()
    undelivered.forget_old()


@shared_task
def erase_due_content() -> None:
    erasure.erase_due()


@shared_task
def reconcile(run_id: str) -> None:
    reconciliation.carry_out(UUID(run_id))


@shared_task
def reconcile_every_account() -> None:
    reconciliation.reconcile_every_account()


@shared_task
def prepare_waste() -> None:
    preparing.prepare()


@shared_task
def work_on_batches() -> None:
    steps.work()


@shared_task
def work_on_comparisons() -> None:
    comparison_steps.work()


@shared_task
def erase_old_files() -> None:
    files.erase_old()


@shared_task
def work_at_provider() -> None:
    looking_at_batches.work()


@shared_task
def learn() -> None:
    folding.learn()
