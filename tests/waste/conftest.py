"""A project's month of paid calls, each with its job, attempt and line in the books."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from accounts.models import Project
from billing import ledger
from billing.clock import database_now
from billing.ledger import Claim
from billing.limits import Owner
from billing.prices import price_on
from billing.pricing import Tokens
from jobs.models import Attempt, Doubt, Job
from jobs.queues import queue_of
from jobs.states import AttemptStatus, DoubtStatus, JobStatus
from tests.conftest import SEPTEMBER_2024, Tenant

USUAL = Tokens(2000, 0, 1000, 800)


@dataclass
class Month:
    """Books calls of a project as the worker would, with what their jobs say of them."""

    tenant: Tenant

    @property
    def project(self) -> Project:
        return self.tenant.project

    def job(self, model: str = "o1-preview", **fields: Any) -> Job:
        now = database_now()
        made = {
            "status": JobStatus.SUCCEEDED,
            "finished_at": now,
            "read_at": now,
            "bound_input_tokens": 9000,
            "bound_output_tokens": 9000,
            "bound_usd": Decimal(5),
            "admission_tokens": 9000,
            "queued_at": now,
            "usage": {},
            **fields,
        }
        project = self.project
        return Job.objects.create(
            organization=project.organization,
            project=project,
            queue_id=queue_of(project, model),
            created_by=self.tenant.owner,
            model=model,
            **made,
        )

    def pay(
        self,
        job: Job,
        tokens: Tokens = USUAL,
        *,
        number: int = 1,
        empty: bool = False,
        doubt: DoubtStatus | None = None,
        priced_on: date = SEPTEMBER_2024,
    ) -> UUID:
        """Books a call of a job; returns the attempt's id."""
        now = database_now()
        attempt = Attempt.objects.create(
            id=uuid4(),
            job=job,
            number=number,
            status=AttemptStatus.RESOLVED if doubt else AttemptStatus.ANSWERED,
            created_at=now,
            lease_expires_at=now,
            calling_at=now,
            finished_at=now,
        )
        if doubt:
            Doubt.objects.create(attempt=attempt, status=doubt, opened_at=now, resolved_at=now)
        claim = Claim(
            reference=attempt.pk,
            amount_usd=Decimal(5),
            input_tokens=9000,
            output_tokens=9000,
            owner=Owner(self.project, model=job.model),
            service_tier=job.service_tier,
            price=price_on([job.model], job.service_tier, priced_on),
        )
        with transaction.atomic():
            assert ledger.reserve([claim]) == []
            ledger.settle(attempt.pk, tokens, snapshot=f"{job.model}-2024-09-12", is_empty=empty)
        return attempt.pk

    def paid(self, model: str = "o1-preview", tokens: Tokens = USUAL, **fields: Any) -> Job:
        job = self.job(model, **fields)
        self.pay(job, tokens, empty=bool(fields.get("is_empty")))
        return job

    def adjust(self, usd: str) -> None:
        with transaction.atomic():
            ledger.adjust(self.project, Decimal(usd), reason="for the test", actor=self.tenant.owner)

    @property
    def first(self) -> Any:
        return database_now().date().replace(day=1)


@pytest.fixture
def month(alice: Tenant) -> Month:
    return Month(alice)


def days_ago(days: int) -> datetime:
    return database_now() - timedelta(days=days)
