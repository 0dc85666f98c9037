"""An organization of a plan: its people, teams, projects, keys, payments and what it may send; all made anew."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from django.conf import settings
from django.contrib.auth.hashers import make_password

from accounts import api_keys, audit
from accounts.models import (
    ApiKey,
    AuditAction,
    Membership,
    Organization,
    Payment,
    Project,
    ProjectRateLimit,
    ProviderCredential,
    Team,
    TierOverride,
    User,
)
from jobs.demo_data.plans import OrganizationPlan, ProjectPlan

# Nothing listens there: what an invented organization sends costs nobody anything.
NOWHERE = "http://127.0.0.1:9/v1"
PAYMENTS = 4


@dataclass(frozen=True, slots=True)
class Cast:
    """An organization that was made, with what its calls hang on."""

    organization: Organization
    plan: OrganizationPlan
    people: dict[str, User]
    projects: dict[str, Project]
    plans: dict[str, ProjectPlan]
    keys: dict[str, list[ApiKey]]


def make(plan: OrganizationPlan, slug: str, password: str, began_at: datetime, dice: Random) -> Cast:
    """The organization as if it had begun at that instant. Belongs into a transaction."""
    organization = Organization.objects.create(name=plan.name, slug=slug)
    # Hashed once: a proper hash takes as long as a thousand jobs.
    hashed = make_password(password)
    people, members = {}, {}
    for person in plan.people:
        user = User.objects.create(
            email=f"{person.sign_in}@{slug}.example",
            password=hashed,
            first_name=person.first_name,
            last_name=person.last_name,
            date_joined=began_at,
        )
        people[person.sign_in] = user
        members[person.sign_in] = Membership.objects.create(organization=organization, user=user, role=person.role)
    teams = {name: Team.objects.create(organization=organization, name=name) for name in plan.teams}
    for person in plan.people:
        for name in person.teams:
            teams[name].members.add(members[person.sign_in])
        for name in person.leads:
            teams[name].leads.add(members[person.sign_in])
    projects = {
        each.name: Project.objects.create(
            organization=organization,
            team=teams.get(each.team),
            name=each.name,
            slug=each.name.lower().replace(" ", "-"),
            provider_project_id=f"proj_{slug}_{number}".replace("-", "_"),
        )
        for number, each in enumerate(plan.projects)
    }
    keys = {name: _keys(project, people, plan, began_at) for name, project in projects.items()}
    _terms(organization, projects, people, plan, began_at, dice)
    for table in (Organization, Team, Project, Membership):
        of = {"pk": organization.pk} if table is Organization else {"organization": organization}
        table.objects.filter(**of).update(created_at=began_at)
    _record(organization, people, projects)
    return Cast(organization, plan, people, projects, {each.name: each for each in plan.projects}, keys)


def _keys(project: Project, people: dict[str, User], plan: OrganizationPlan, began_at: datetime) -> list[ApiKey]:
    """Of the members of the project's team, else of the admin; and one that was revoked."""
    team = project.team.name if project.team else None
    makers = [people[person.sign_in] for person in plan.people if team in person.teams] or [people["admin"]]
    made = [api_keys.issue(project, name=f"{maker.first_name}'s jobs", created_by=maker).api_key for maker in makers]
    old = api_keys.issue(project, name="first try", created_by=makers[0]).api_key
    ApiKey.objects.filter(pk__in=[key.pk for key in [*made, old]]).update(created_at=began_at)
    ApiKey.objects.filter(pk=old.pk).update(revoked_at=began_at + timedelta(days=30))
    return made


def _terms(
    organization: Organization,
    projects: dict[str, Project],
    people: dict[str, User],
    plan: OrganizationPlan,
    began_at: datetime,
    dice: Random,
) -> None:
    """Payments, a tier by hand, a project's own rate limit, and credentials that lead nowhere but to the simulator."""
    Payment.objects.bulk_create(
        Payment(
            organization=organization,
            amount_usd=plan.paid_usd // PAYMENTS,
            paid_at=began_at - timedelta(days=40 - dice.randrange(5) - 7 * number),
            reference=f"transfer {number + 1}",
        )
        for number in range(PAYMENTS)
    )
    override = TierOverride.objects.create(
        organization=organization, tier=3, reason="Trial of three days", actor=people["owner"], ends_at=began_at
    )
    TierOverride.objects.filter(pk=override.pk).update(created_at=began_at - timedelta(days=3))
    first = next(iter(projects.values()))
    ProjectRateLimit.objects.create(project=first, model="gpt-6.2-sol", requests_per_minute=120)
    credential = ProviderCredential(
        organization=organization, base_url="" if settings.PROVIDER_IS_SIMULATOR else NOWHERE
    )
    credential.api_key = "sk-demo-no-key-at-all"
    credential.save()


def _record(organization: Organization, people: dict[str, User], projects: dict[str, Project]) -> None:
    """What was made is in the trail, as what it is: made now, by a command."""
    by, reason = audit.command_line(), "demo data"
    after: dict[str, object] = {
        "name": organization.name,
        "slug": organization.slug,
        "members": sorted(map(str, people.values())),
    }
    audit.record_about(organization, AuditAction.CREATED, by=by, after=after, reason=reason)
    for project in projects.values():
        team = str(project.team) if project.team else None
        after = {"name": project.name, "team": team, "api_keys": project.api_keys.count()}
        audit.record_about(project, AuditAction.CREATED, by=by, after=after, reason=reason)
