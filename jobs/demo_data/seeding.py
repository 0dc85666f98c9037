"""Makes the invented organizations, one transaction each: all of one, or nothing of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from django.db import transaction

from accounts.models import Organization
from billing import history
from billing.clock import database_now
from jobs.demo_data import past, people, present
from jobs.demo_data.calls import Past, PastJob
from jobs.demo_data.plans import ORGANIZATIONS, OrganizationPlan

DAYS = 183
# Told after each so many jobs that were drawn.
STEP = 500
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Seeded:
    """An organization that was made, and as whom one signs in: address and role."""

    organization: Organization
    jobs: int
    sign_ins: list[tuple[str, str]]


def slugs_taken() -> list[Organization]:
    """The organizations that an earlier run has made, of whatever number."""
    names = [plan.slug for plan in ORGANIZATIONS]
    return [each for each in Organization.objects.order_by("slug") if _base(each.slug) in names]


def free_suffix() -> str:
    """What to add to each slug so that none is taken: nothing, or '-2', '-3' ..."""
    taken, number = set(Organization.objects.values_list("slug", flat=True)), 1
    while any(_slug(plan, number) in taken for plan in ORGANIZATIONS):
        number += 1
    return _slug(ORGANIZATIONS[0], number).removeprefix(ORGANIZATIONS[0].slug)


def seed(*, jobs: int, seed: int, password: str, suffix: str, progress: Progress) -> list[Seeded]:
    """Makes every organization of the plans, with about so many jobs in all."""
    return [
        _make(plan, plan.slug + suffix, max(20, jobs * plan.jobs_percent // 100), seed, password, progress)
        for plan in ORGANIZATIONS
    ]


@transaction.atomic
def _make(plan: OrganizationPlan, slug: str, count: int, seed: int, password: str, progress: Progress) -> Seeded:
    now = database_now()
    # What is made today comes after all of the past, which ends with a full hour: run again, it is the same.
    until, began_at = now.replace(minute=0, second=0, microsecond=0), _midnight(now) - timedelta(days=DAYS)
    # Figures follow from the seed alone; ids from the organization too, so that two of one plan have none in common.
    dice, ids = Random(f"{seed} {plan.slug}"), Random(f"{seed} {slug}")  # noqa: S311
    cast = people.make(plan, slug, password, began_at, dice)
    drawn: list[PastJob] = []
    for job in Past(cast, began_at, until, dice, ids).jobs(count):
        drawn.append(job)
        if len(drawn) % STEP == 0:
            progress(plan.name, STEP)
    settled = history.write(cast.organization, [call for job in drawn for call in job.calls])
    past.write(cast, drawn, settled, until)
    progress(plan.name, len(drawn) % STEP)
    present.make(cast)
    if plan is ORGANIZATIONS[-1]:
        present.verify(cast)
    return Seeded(cast.organization, len(drawn), _sign_ins(plan, slug))


def _sign_ins(plan: OrganizationPlan, slug: str) -> list[tuple[str, str]]:
    leads = {person.sign_in: f", leads {', '.join(person.leads)}" for person in plan.people if person.leads}
    return [
        (f"{person.sign_in}@{slug}.example", f"{person.role}{leads.get(person.sign_in, '')}") for person in plan.people
    ]


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _slug(plan: OrganizationPlan, number: int) -> str:
    return plan.slug if number == 1 else f"{plan.slug}-{number}"


def _base(slug: str) -> str:
    """A slug without the number of its run."""
    base, _, number = slug.rpartition("-")
    return base if number.isdigit() else slug
