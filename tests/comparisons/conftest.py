"""Comparisons as programs make them: over HTTP, against the simulator, by the real path."""

from dataclasses import dataclass
from typing import Any

import pytest
from django.db.models import Count
from rest_framework.test import APIClient

from jobs.api.comparisons.examples import SUBMISSION_BODY
from jobs.comparisons import steps
from jobs.models import Comparison, ComparisonRun, Job
from tests.admin.conftest import admin, superuser
from tests.flows.conftest import Path, _fresh_limiter, path, simulator, simulator_process, slots

__all__ = ["_fresh_limiter", "admin", "path", "simulator", "simulator_process", "slots", "superuser"]

ROUTE = "/api/v1/comparisons"
QUESTION = "What is the capital of Mexico?"
SMALL = {"model": "o1-mini", "max_completion_tokens": 2000}


@dataclass
class Comparisons:
    """What a program does with comparisons, and the work that Celery would do meanwhile."""

    client: APIClient
    path: Path

    def post(self, **body: Any) -> Any:
        """The answer to a comparison of one question on one small variant, unless told otherwise."""
        wanted = {"prompt": QUESTION, "variants": [SMALL], "max_cost_usd": "5", **body}
        return self.client.post(ROUTE, {name: part for name, part in wanted.items() if part is not None}, format="json")

    def make(self, **body: Any) -> Comparison:
        answer = self.post(**body)
        assert answer.status_code == 202, answer.json()
        return Comparison.objects.get(pk=answer.json()["id"])

    def make_sample(self, **more: Any) -> Comparison:
        """The four calls of the documentation's example."""
        return self.make(**{**SUBMISSION_BODY, **more})

    def get(self, comparison: Comparison, below: str = "", **query: Any) -> Any:
        answer = self.client.get(f"{ROUTE}/{comparison.pk}{below}", query)
        assert answer.status_code == 200, answer.content
        return answer.json()

    def work(self) -> None:
        """Everything that can be done now: steps of comparisons and calls of the model, until nothing changes."""
        while True:
            before = self._figures()
            steps.work(60)
            self.path.run()
            if self._figures() == before:
                return

    @staticmethod
    def _figures() -> list[Any]:
        runs = ComparisonRun.objects.order_by("status").values_list("status").annotate(Count("pk"))
        jobs = Job.objects.order_by("status").values_list("status").annotate(Count("pk"))
        return [*Comparison.objects.order_by("pk").values_list("status"), *runs, *jobs]


@pytest.fixture
def comparisons(client: APIClient, path: Path, slots) -> Comparisons:
    slots(20)
    return Comparisons(client, path)
