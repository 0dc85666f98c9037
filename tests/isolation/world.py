"""Two organizations that have the same of everything, and somebody in every role of the first."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count, zip_longest
from typing import Any
from uuid import UUID, uuid4

from django.apps import apps
from django.contrib import admin
from django.db.models import Model, Q
from django.test import Client
from django.utils import timezone

from accounts import access
from accounts.access import Capability
from accounts.admin.scope import EVERYBODYS, Scoped, Sight
from accounts.audit import SERVICE, record
from accounts.models import (
    AdminCredential,
    AuditAction,
    IdempotencyRecord,
    Membership,
    Organization,
    Project,
    ProjectRateLimit,
    ProviderCredential,
    Role,
    Team,
    TierOverride,
    User,
)
from billing import alerts, verifications
from billing.models import AlertSettings, ClosedMonth, Origin, ReviewedLine
from billing.models.reconciliations import DifferenceKind
from billing.pricing import Tokens
from billing.quotas import asking
from billing.reconciliation import decisions
from billing.webhooks import endpoints
from jobs import workers
from jobs.models import Breaker, BreakerReason, Doubt
from jobs.states import DoubtStatus
from tests.admin.conftest import (
    compare_with_bill,
    finish_job,
    make_batch,
    make_comparison,
    make_job,
    make_quota,
    make_undelivered,
    reserve,
    sign_in,
)
from tests.conftest import Tenant, make_tenant

ROLES = ("owner", "admin", "billing", "member", "viewer", "lead")
PEOPLE = (*ROLES, "staff", "superuser", "anonymous")
OTHER = "Zebulon"
# What no page of ours may hold: every name of theirs has it, and no amount of ours is like theirs.
SPENT_BY_OTHER = Tokens(input=7919, cached_input=0, output=6571, reasoning=4321)
LIMIT_OF_OTHER = "4567.89"


@dataclass(frozen=True)
class World:
    own: Tenant
    other: Tenant
    users: dict[str, User]
    clients: dict[str, Client]
    superuser: User
    secrets: list[str]
    rows: dict[type[Model], tuple[Model | None, Model | None]]


def build() -> World:
    own, other = make_tenant("Quills"), make_tenant(OTHER)
    users = {"owner": own.owner}
    for role in Role.values[1:]:
        users[role] = member_of(own.organization, f"{role}@quills.example", role)
    users["lead"] = member_of(own.organization, "lead@quills.example", Role.MEMBER)
    users["staff"] = User.objects.create_user("staff@bursar.example", is_staff=True)
    superuser = users["superuser"] = User.objects.create_superuser("root@bursar.example")
    populate(own, superuser, Tokens(input=43, cached_input=0, output=1279, reasoning=1024), "100")
    populate(other, superuser, SPENT_BY_OTHER, LIMIT_OF_OTHER)
    team = Team.objects.get(organization=own.organization)
    people = Membership.objects.filter(user__in=[users["member"], users["lead"]])
    team.members.set(people)
    team.leads.set(people.filter(user=users["lead"]))
    workers.report("calls@one", slots=100, now=timezone.now())
    clients = {name: sign_in(user) for name, user in users.items()} | {"anonymous": Client()}
    rows = {model: (a_row(model, own, superuser), a_row(model, other, superuser)) for model in admin.site._registry}
    return World(own, other, users, clients, superuser, secrets_of(other, superuser), rows)


def member_of(organization: Organization, email: str, role: str) -> User:
    user = User.objects.create_user(email)
    Membership.objects.create(organization=organization, user=user, role=role)
    return user


def populate(tenant: Tenant, superuser: User, tokens: Tokens, limit: str) -> None:
    """A row at least of every table that belongs to an organization."""
    organization, project, name = tenant.organization, tenant.project, tenant.organization.name
    team = Team.objects.create(organization=organization, name=f"{name} team")
    project.team = team
    project.save()
    finished = finish_job(project, tenant.owner, tokens)
    make_job(project, tenant.owner, metadata={"of": name})
    make_batch(project, metadata={"of": name})
    make_comparison(project, finished.job)
    make_undelivered(finished.job, tenant.api_key.api_key)
    quota = make_quota(project, limit)
    asking.ask(quota, Decimal(5), reason=f"a test of {name}", asked_by=tenant.owner, by=SERVICE)
    reserve(project)
    ProjectRateLimit.objects.create(project=project, model=f"{name}-model", requests_per_minute=10)
    TierOverride.objects.create(organization=organization, tier=5, reason=f"agreed with {name}", actor=superuser)
    now = timezone.now()
    month = {"starts_at": datetime(2024, 8, 1, tzinfo=UTC), "ends_at": datetime(2024, 9, 1, tzinfo=UTC)}
    sums = {"lines": 2, "spent_usd": Decimal(limit), "held_usd": 0, "seal": "0" * 64}
    ClosedMonth.objects.create(organization=organization, **month, **sums, closed_at=now)
    Doubt.objects.create(attempt=finished.attempt, status=DoubtStatus.OPEN, opened_at=now, next_look_at=now)
    error = {"status": 500, "code": None, "message": f"{name} is unknown"}
    places = {"organization": organization, "project": project, "family": "o1-preview"}
    at = {"opened_at": now, "next_probe_at": now + timedelta(days=1)}
    Breaker.objects.create(**places, **at, reason=BreakerReason.UNAVAILABLE, error=error)
    for kind in (ProviderCredential, AdminCredential):
        credential = kind(organization=organization)
        credential.api_key = f"sk-of-{name}"
        credential.save()
    compare_with_bill(organization, "0.05")
    extra = decisions.current_lines().get(kind=DifferenceKind.MISSING_HERE, run__organization=organization)
    decisions.accept(extra, amount_usd=extra.difference_usd, reason=f"a test of {name}", actor=superuser)
    IdempotencyRecord.objects.create(
        project=project, key=f"{name}-once", fingerprint="0" * 64, response_status=202, response_body={}, created_at=now
    )
    verifications.carry_out(verifications.ask(organization, Origin.NIGHTLY).pk)
    alerts.raise_overrun(
        organization_id=organization.pk,
        project_id=project.pk,
        reference=finished.attempt.pk,
        model="o1-preview",
        total_usd=Decimal(limit),
        bound_usd=Decimal(2),
    )
    tell(organization, project)
    record(AuditAction.UPDATED, "quota", uuid4(), by=SERVICE, organization_id=organization.pk, name=f"{name} quota")


def tell(organization: Organization, project: Project) -> None:
    """What is told of it and noted about it: a webhook with a delivery, alert settings, a reviewed line."""
    name = organization.name
    AlertSettings.objects.create(organization=organization)
    endpoint, _ = endpoints.create(organization, f"https://{name}.example.com/", by=SERVICE, description=f"of {name}")
    endpoints.test(endpoint)
    line = {"organization": organization, "project": project, "model": f"{name}-model", "month": date(2024, 8, 1)}
    ReviewedLine.objects.create(**line, changed_at=timezone.now())


class _Asked:
    """As much of a request as a sight needs."""

    def __init__(self, user: User):
        self.user = user


def rows_of(model: type[Model], tenant: Tenant) -> Any:
    """An organization's rows of a table, as the owner of it would reach them; None for tables of nobody's."""
    page = admin.site._registry[model]
    if model is User:
        return User.objects.filter(memberships__organization=tenant.organization)
    if not isinstance(page, Scoped) or page.place == EVERYBODYS:
        return None
    return model._default_manager.filter(Sight(_Asked(tenant.owner)).rows(page.place, page.sees or Capability.SEE))


def a_row(model: type[Model], tenant: Tenant, superuser: User) -> Model | None:
    rows = rows_of(model, tenant)
    if rows is not None:
        return rows.order_by("pk").first()
    return model._default_manager.order_by("pk").first()


def secrets_of(tenant: Tenant, superuser: User) -> list[str]:
    """Their ids, and what they spent; their names all hold the organization's."""
    found = {tenant.organization.name.lower(), "4,567.89", "4567.89", "7,919", "6,571", "4,321"}
    for model in admin.site._registry:
        rows = rows_of(model, tenant)
        if rows is not None:
            found |= {str(pk) for pk in rows.values_list("pk", flat=True) if isinstance(pk, UUID)}
    return sorted(found)


def leaked(world: World, text: str, *asked: object) -> list[str]:
    """What of the other organization's is in an answer, but for what was asked with."""
    lowered = text.lower()
    for one in asked:
        lowered = lowered.replace(str(one).lower(), "")
    return [secret for secret in world.secrets if secret in lowered]


_VARYING = re.compile(r'name="csrfmiddlewaretoken" value="[^"]+"|"(?:request_id|instance)":\s*"[^"]*"|[0-9.]+ ?ms')


def said(answer: Any) -> str:
    """The body, be it streamed."""
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return str(body.decode(errors="replace"))


def told(answer: Any, *ids: object) -> tuple[int, str, str]:
    """Status, target and body of an answer without the ids that were asked for and what differs each time."""
    text = said(answer)
    target = answer.headers.get("Location", "")
    for one in ids:
        # A number stands in many places of a page; these are the ones that repeat what was asked for.
        forms = ("/{}/", "{} is not one") if isinstance(one, int) else ("{}",)
        for form in forms:
            text, target = (each.replace(form.format(one), form.format("ID")) for each in (text, target))
    return answer.status_code, target, _VARYING.sub("", text)


def differing(one: tuple[int, str, str], other: tuple[int, str, str]) -> list[object]:
    """Where two answers begin to differ; pytest would take minutes to compare two pages."""
    if one[:2] != other[:2]:
        return [one[:2], other[:2]]
    lines = zip_longest(one[2].splitlines(), other[2].splitlines())
    return next(([here, there] for here, there in lines if here != there), [])


def tables() -> list[type[Model]]:
    return [m for label in ("accounts", "billing", "jobs") for m in apps.get_app_config(label).get_models()]


def snapshot(world: World) -> dict[str, Any]:
    """The other organization's rows, and how many there are of every table."""
    kept: dict[str, Any] = {}
    for model in tables():
        if model._meta.label not in {"accounts.AuditEntry", "jobs.Worker"}:
            kept[model._meta.label] = list(model._default_manager.order_by("pk").values())
    kept["members"] = list(Team.members.through.objects.order_by("pk").values())
    kept["leads"] = list(Team.leads.through.objects.order_by("pk").values())
    return kept


_turns = count()


def in_turn(first: str, *others: str) -> list[str]:
    """The first of these, who may do most, and two of the others, the next two each time; all with ISOLATION_FULL=1."""
    if os.environ.get("ISOLATION_FULL"):
        return [first, *others]
    turn = 2 * next(_turns)
    return [first, others[turn % len(others)], others[(turn + 1) % len(others)]]


def may_see(world: World, who: str, capability: Capability | None) -> bool:
    """Whether a role sees what belongs to the organization's one project, which is the team's."""
    if who == "superuser":
        return True
    if who not in ROLES or capability is None:
        return False
    return access.projects(world.users[who], capability).filter(Q(pk=world.own.project.pk)).exists()
