"""Processes that die at a step of the path: forked, so that each costs no start of an interpreter.

python -m tests.flows.crashes    reads orders, a JSON object a line, and answers each with how its process ended
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import django

from config.simulator.running import RunningSimulator
from tests.flows.processes import CHECKOUT, environment


class Doomed:
    """The process that forks the others."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, crash_at: str, *, api_key: object, jobs: int = 1) -> int:
        """Has a process submit jobs, carry them out and recover what there is; returns its exit code, -9 if it died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"crash_at": crash_at, "api_key": str(api_key), "jobs": jobs}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def doomed(simulator: RunningSimulator) -> Iterator[Doomed]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.flows.crashes"],
        cwd=CHECKOUT,
        env=environment(simulator, DJANGO_SETTINGS_MODULE="config.settings", BURSAR_LOG_LEVEL="ERROR"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Doomed(process)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def main() -> None:
    from jobs.estimates import count_tokens

    count_tokens("the vocabulary is loaded once")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _live(json.loads(line))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _live(order: Mapping[str, Any]) -> None:
    from django.conf import settings
    from django.db import transaction

    from accounts.models import ApiKey
    from billing.clock import database_now
    from jobs import dispatch, execution, recovery, workers
    from jobs.models import Attempt, Doubt
    from jobs.recovery import decisions, looks
    from jobs.submission import Submission, submit
    from jobs.validation import PromptRequest

    settings.CRASH_AT = order["crash_at"]
    dispatch.send = lambda attempt_ids: None
    name = workers.process_name("doomed")
    workers.report(name, slots=100, now=database_now())
    api_key = ApiKey.objects.get(pk=order["api_key"])
    for _ in range(order["jobs"]):
        prompt = [{"role": "user", "content": "What is the capital of Mexico?"}]
        with transaction.atomic():
            submit(api_key, Submission(PromptRequest("o1-mini", prompt, {})))
    dispatch.dispatch()
    for attempt in Attempt.objects.filter(status="created", fencing_token__isnull=True):
        execution.execute(attempt.pk, worker=name)
    recovery.rescue()
    Doubt.objects.filter(next_look_at__isnull=False).update(next_look_at=database_now())
    looks.look_up()
    decisions.decide_by_policy()


if __name__ == "__main__":
    django.setup()
    main()
