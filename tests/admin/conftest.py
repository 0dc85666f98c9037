"""People who sign in to the admin, and a world that has one row at least of every model."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.db import transaction
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags
from uuid_utils.compat import uuid7

from accounts.audit import SERVICE
from accounts.models import (
    AdminCredential,
    ApiKey,
    IdempotencyRecord,
    Organization,
    Project,
    ProjectRateLimit,
    ProviderCredential,
    Team,
    TierOverride,
    User,
)
from accounts.provider_accounts import account_of
from billing import alerts, ledger, verifications
from billing.clock import database_now
from billing.limits import Owner
from billing.models import (
    AlertSettings,
    ClosedMonth,
    Origin,
    Price,
    Quota,
    ReviewedLine,
    UsageRecord,
)
from billing.models.reconciliations import DifferenceKind
from billing.pricing import Tokens
from billing.quotas import asking
from billing.reconciliation import decisions, runs
from billing.reconciliation.bills import BilledCost, BilledUsage, ProviderBill
from billing.reconciliation.figures import Figures
from billing.webhooks import endpoints
from jobs import workers
from jobs.models import (
    Attempt,
    Batch,
    BatchLine,
    Breaker,
    BreakerReason,
    Comparison,
    ComparisonRun,
    Doubt,
    File,
    Job,
    JobContent,
    Undelivered,
)
from jobs.queues import queue_of
from jobs.states import AttemptStatus, DoubtStatus, JobStatus

MATRIX_PROMPT = Tokens(input=43, cached_input=0, output=1279, reasoning=1024)
EMPTY_ANSWER = Tokens(input=43, cached_input=0, output=300, reasoning=300)


@dataclass(frozen=True)
class Finished:
    """A job that was answered, its attempt, and what it cost."""

    job: Job
    attempt: Attempt
    record: UsageRecord


def cells(page: str, column: str) -> list[str]:
    """The texts in a column of a list, from top to bottom."""
    found = re.findall(rf'<t[dh] class="field-{column}[ "][^>]*>(.*?)</t[dh]>', page, re.DOTALL)
    return [strip_tags(cell).strip() for cell in found]


def sign_in(user: User) -> Client:
    signed_in = Client()
    signed_in.force_login(user)
    return signed_in


@pytest.fixture
def superuser(db) -> User:
    return User.objects.create_superuser("root@bursar.example", "a password for tests")


@pytest.fixture
def admin(superuser: User) -> Client:
    """A superuser's browser."""
    return sign_in(superuser)


@pytest.fixture
def staff_with(db) -> Callable[..., Client]:
    """The browser of a staff member who has these permissions ('app_label.codename') alone."""

    def make(*permissions: str) -> Client:
        user = User.objects.create_user(f"staff-{uuid7()}@bursar.example", "a password for tests", is_staff=True)
        for name in permissions:
            app_label, codename = name.split(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app_label, codename=codename))
        return sign_in(user)

    return make


def o1_preview() -> Price:
    return Price.objects.filter(model="o1-preview", service_tier="standard").earliest("effective_from")


@transaction.atomic
def reserve(project: Project, amount_usd: str = "2", *, model: str = "o1-preview") -> UUID:
    """The reference of a new open reservation."""
    claim = ledger.Claim(
        reference=uuid7(),
        amount_usd=Decimal(amount_usd),
        input_tokens=1000,
        output_tokens=2000,
        owner=Owner(project, project.team_id, model=model),
        service_tier="standard",
        price=o1_preview(),
    )
    assert ledger.reserve([claim]) == []
    return claim.reference


@transaction.atomic
def spend(project: Project, tokens: Tokens = MATRIX_PROMPT, *, model: str = "o1-preview") -> UsageRecord:
    """A settled call."""
    reference = reserve(project, model=model)
    return ledger.settle(reference, tokens, snapshot=f"{model}-2024-09-12", is_empty=tokens.output == tokens.reasoning)


def make_quota(project: Project, limit: str, **fields) -> Quota:
    """A monthly limit of the project in dollars, unless told otherwise."""
    owner = {} if "scope" in fields else {"project": project}
    return Quota.objects.create(organization=project.organization, limit=Decimal(limit), **owner, **fields)


def make_job(project: Project, created_by: User, **fields) -> Job:
    now = database_now()
    family = fields.get("model", "o1-preview")
    job = Job.objects.create(
        **{
            "organization": project.organization,
            "project": project,
            "queue_id": queue_of(project, family),
            "created_by": created_by,
            "model": "o1-preview",
            "bound_input_tokens": 100,
            "bound_output_tokens": 32768,
            "bound_usd": Decimal("1.97"),
            "admission_tokens": 100,
            "queued_at": now,
            **fields,
        }
    )
    request = {"model": job.model, "messages": [{"role": "user", "content": "the secret prompt"}]}
    JobContent.objects.create(job=job, request=request)
    return job


def make_comparison(project: Project, job: Job | None = None, **fields) -> Comparison:
    """A comparison that runs: one prompt on two variants, of which the first has this job."""
    told = {"service_tier": "standard", "reasoning_effort": None}
    variants = [
        {"name": "o1-preview", "model": "o1-preview", "max_completion_tokens": None, **told},
        {"name": "a cap", "model": "o1-preview", "max_completion_tokens": 300, **told},
    ]
    content = {
        "prompts": [[{"role": "user", "content": f"What does {project.name} ask?"}]],
        "variants": [{"wording": "", "parameters": {}}] * 2,
    }
    given = {"name": f"{project.name} compared", "max_cost_usd": 5, "times": 1, "baseline": 1, "priority": -5}
    given |= {"prompt_names": ["Prompt 1"], "variants": variants, "content": content, "created_at": timezone.now()}
    comparison = Comparison.objects.create(project=project, api_key=project.api_keys.first(), **{**given, **fields})
    run = {"comparison": comparison, "prompt": 1, "round": 1, "bound_usd": 1}
    ended = {"status": "ended", "job": job} if job else {}
    ComparisonRun.objects.create(number=1, variant=1, **run, **ended)
    refused = {"reason": "refused", "error": {"message": f"{project.name} is refused"}}
    ComparisonRun.objects.create(number=2, variant=2, status="not_run", **refused, **run)
    return comparison


def make_batch(project: Project, **fields) -> Batch:
    """A batch of one line that is validated, and its file."""
    now = database_now()
    file = File.objects.create(project=project, filename="requests.jsonl", purpose="batch", created_at=now)
    batch = Batch.objects.create(
        **{
            "project": project,
            "input_file": file,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "output_expires_after": timedelta(days=30),
            "status": "in_progress",
            "model": "o1-preview",
            "priority": -10,
            "created_at": now,
            "in_progress_at": now,
            "expires_at": now + timedelta(days=1),
            "total": 1,
            **fields,
        }
    )
    BatchLine.objects.create(batch=batch, number=1, custom_id="one", position=0, length=100)
    return batch


def make_undelivered(job: Job, api_key: ApiKey, **fields) -> Undelivered:
    """The answer of a job that nobody waits for any more."""
    now = database_now()
    of_connection = {"waiter": None, "waiter_seen_at": now, **fields}
    return Undelivered.objects.create(job=job, api_key=api_key, fingerprint="0" * 64, created_at=now, **of_connection)


def finish_job(project: Project, created_by: User, tokens: Tokens = MATRIX_PROMPT) -> Finished:
    """A job with one answered attempt, as the service leaves it."""
    record = spend(project, tokens)
    now = database_now()
    job = make_job(
        project,
        created_by,
        status=JobStatus.INCOMPLETE if record.is_empty else JobStatus.SUCCEEDED,
        finished_at=now,
        attempt_count=1,
        is_empty=record.is_empty,
        usage={
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
        },
        input_usd=record.input_usd,
        cached_input_usd=record.cached_input_usd,
        output_usd=record.output_usd,
        reasoning_usd=record.reasoning_usd,
        total_usd=record.total_usd,
    )
    JobContent.objects.filter(job=job).update(message={"role": "assistant", "content": "the secret answer"})
    attempt = Attempt.objects.create(
        id=record.reservation.reference,
        job=job,
        number=1,
        status=AttemptStatus.ANSWERED,
        created_at=now,
        lease_expires_at=now + timedelta(seconds=15),
        calling_at=now,
        finished_at=now,
        http_status=200,
        provider_request_id="req_of_the_provider",
    )
    return Finished(job, attempt, record)


@pytest.fixture
def finished(project: Project, owner: User) -> Finished:
    return finish_job(project, owner)


def compare_with_bill(organization: Organization, *usd: str) -> None:
    """Compares today with a bill that has these amounts for a model that nobody called, a request each."""
    today = database_now().astimezone(UTC).date()
    run = runs.begin(
        runs.ask(account_of(organization), Origin.NIGHTLY, today, today + timedelta(days=1)).pk,
    )
    one = Figures(1, 1000, 0, 500)
    bill = ProviderBill(
        [BilledUsage(today, "", "gpt-4o-2024-08-06", "standard", one) for _ in usd],
        [BilledCost(today, "", "gpt-4o-2024-08-06", Decimal(each)) for each in usd],
    )
    runs.record(run, bill)


@pytest.fixture
def world(organization: Organization, owner: User, api_key, finished: Finished) -> Finished:
    return fill_world(organization, owner, finished)


def fill_world(organization: Organization, owner: User, finished: Finished) -> Finished:
    """One row at least of every model, beside what the migrations seed."""
    Team.objects.create(organization=organization, name="Numbers")
    quota = make_quota(finished.job.project, "100")
    asking.ask(quota, Decimal(5), reason="the evaluation", asked_by=owner, by=SERVICE)
    ProjectRateLimit.objects.create(project=finished.job.project, model="o1-preview", requests_per_minute=10)
    TierOverride.objects.create(organization=organization, tier=5, reason="agreed by contract", actor=owner)
    ClosedMonth.objects.create(
        organization=organization,
        starts_at=datetime(2024, 8, 1, tzinfo=UTC),
        ends_at=datetime(2024, 9, 1, tzinfo=UTC),
        lines=2,
        spent_usd=Decimal("0.06"),
        held_usd=0,
        seal="0" * 64,
        closed_at=timezone.now(),
    )
    Doubt.objects.create(
        attempt=finished.attempt, status=DoubtStatus.FOUND, opened_at=timezone.now(), resolved_at=timezone.now()
    )
    make_batch(finished.job.project)
    make_comparison(finished.job.project, finished.job)
    make_undelivered(finished.job, ApiKey.objects.filter(project=finished.job.project).earliest("pk"))
    workers.report("calls@one", slots=100, now=timezone.now())
    Breaker.objects.create(
        organization=organization,
        project=finished.job.project,
        family="o1-preview",
        reason=BreakerReason.UNAVAILABLE,
        error={"status": 500, "code": None, "message": "The server had an error"},
        opened_at=timezone.now(),
        next_probe_at=timezone.now(),
    )
    ReviewedLine.objects.create(
        organization=organization,
        project=finished.job.project,
        month=timezone.now().date().replace(day=1),
        model="o1-preview",
        changed_at=timezone.now(),
    )
    credential = ProviderCredential(organization=organization, provider_organization_id="org-1")
    credential.api_key = "sk-the-key-of-the-provider"
    credential.save()
    admin_credential = AdminCredential(organization=organization)
    admin_credential.api_key = "sk-admin-the-key-of-the-bill"
    admin_credential.save()
    compare_with_bill(organization, "0.05")
    extra = decisions.current_lines().get(kind=DifferenceKind.MISSING_HERE)
    decisions.accept(extra, amount_usd=extra.difference_usd, reason="a test of theirs", actor=owner)
    IdempotencyRecord.objects.create(
        project=finished.job.project,
        key="once",
        fingerprint="0" * 64,
        response_status=202,
        response_body={"output_text": "the secret answer"},
        created_at=timezone.now(),
    )
    verifications.carry_out(verifications.ask(organization, Origin.NIGHTLY).pk)
    alerts.raise_overrun(
        organization_id=organization.pk,
        project_id=finished.job.project.pk,
        reference=finished.attempt.pk,
        model="o1-preview",
        total_usd=Decimal(3),
        bound_usd=Decimal(2),
    )
    AlertSettings.objects.create(organization=organization)
    endpoint, _ = endpoints.create(organization, "https://hooks.example.com/", by=SERVICE)
    endpoints.test(endpoint)
    return finished
