"""How a Celery worker of the queue `calls` comes to its engine, and waits for it when it is told to stop."""

from typing import Any

from celery import bootsteps
from django.conf import settings

from jobs.execution import engine

CALLS_QUEUE = "calls"


class Calls(bootsteps.StartStopStep):
    """Started before the first message is taken; stopped after the last one, and before the process ends."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.engine: engine.Engine | None = None

    def start(self, worker: Any) -> None:
        if CALLS_QUEUE in worker.app.amqp.queues.consume_from:
            self.engine = engine.start(worker.hostname, settings.CALL_SLOTS)

    def stop(self, worker: Any) -> None:
        if self.engine is not None:
            self.engine.stop()

    def terminate(self, worker: Any) -> None:
        """Told twice: nothing is waited for. What is under way will be found in doubt."""
