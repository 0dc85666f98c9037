"""Call slots: how many are free, and who may have the last of them."""

from dataclasses import dataclass
from uuid import UUID

from django.db import connection

# Of all slots, at least one and this many in a hundred are kept for projects that hold less than their share.
HEADROOM_PERCENT = 5
# A project that started something so long ago is still reckoned with.
PRESENCE_SECONDS = 60

_HELD = """
    WITH flight (project_id, calls) AS (
        SELECT job.project_id, count(*) FROM jobs_attempt attempt JOIN jobs_job job ON job.id = attempt.job_id
        WHERE attempt.status IN ('created', 'calling') GROUP BY job.project_id
    ), present (project_id) AS (
        SELECT project_id FROM flight
        UNION
        SELECT project_id FROM jobs_share
        WHERE project_id IS NOT NULL AND started_at > now() - make_interval(secs => %s)
        UNION
        SELECT unnest(%s::uuid[])
    )
    SELECT project.id, organization.id, project.dispatch_weight, organization.dispatch_weight, COALESCE(calls, 0)
    FROM present
    JOIN accounts_project project ON project.id = present.project_id
    JOIN accounts_organization organization ON organization.id = project.organization_id
    LEFT JOIN flight ON flight.project_id = present.project_id
"""


@dataclass(slots=True)
class Slots:
    """The slots that are free in a round; `headroom` of them are for projects that hold less than their fair share.

    `held` and `fair` are empty where all may have what is free.
    """

    total: int
    free: int
    headroom: int
    held: dict[UUID, int]
    fair: dict[UUID, float]

    def has_room(self, project: UUID) -> bool:
        """Whether the project may take a slot."""
        if self.free > self.headroom:
            return True
        return self.free > 0 and self.held[project] < self.fair[project]

    def take(self, project: UUID) -> None:
        self.free -= 1
        if project in self.held:
            self.held[project] += 1


def slots_for(projects: set[UUID], *, total: int, used: int, count: int) -> Slots:
    """The slots of a round that starts up to `count` calls of these projects."""
    free = total - used
    headroom = max(1, total * HEADROOM_PERCENT // 100)
    if free - count > headroom:
        return Slots(total, free, 0, {}, {})
    with connection.cursor() as cursor:
        cursor.execute(_HELD, [PRESENCE_SECONDS, list(projects)])
        rows = cursor.fetchall()
    if len(rows) <= 1:
        return Slots(total, free, 0, {}, {})
    organizations = {owner: weight for _, owner, _, weight, _ in rows}
    of_all = sum(organizations.values())
    within: dict[UUID, int] = {}
    for _, owner, weight, _, _ in rows:
        within[owner] = within.get(owner, 0) + weight
    return Slots(
        total,
        free,
        headroom,
        {project: calls for project, _, _, _, calls in rows},
        {project: total * weights / of_all * weight / within[owner] for project, owner, weight, weights, _ in rows},
    )
