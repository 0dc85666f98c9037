"""Which part of an organization's books is exported."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

from accounts.models import Organization
from billing.periods import month_of


@dataclass(frozen=True, slots=True)
class Selection:
    """The money that counts from the day `start` up to, and not including, `end`; UTC.

    `projects`: those alone; None: all. The other filters are empty where nothing is filtered. What was adjusted belongs
    to a project and a team, and to no member, key or model: with a filter of those, adjustments are left out.
    """

    organization: Organization
    start: date
    end: date
    projects: Sequence[UUID] | None = None
    teams: Sequence[UUID] = ()
    members: Sequence[int] = ()
    keys: Sequence[UUID] = ()
    models: Sequence[str] = ()

    @property
    def begin(self) -> datetime:
        return datetime.combine(self.start, time(), UTC)

    @property
    def until(self) -> datetime:
        return datetime.combine(self.end, time(), UTC)

    @property
    def has_adjustments(self) -> bool:
        return not (self.members or self.keys or self.models)

    @property
    def parameters(self) -> dict[str, Any]:
        """What `usage_condition` and `entry_condition` name."""
        return {
            "organization": self.organization.pk,
            "begin": self.begin,
            "until": self.until,
            "first_month": month_of(self.begin).start,
            "projects": list(self.projects or ()),
            "teams": list(self.teams),
            "members": list(self.members),
            "keys": list(self.keys),
            "models": list(self.models),
        }

    @property
    def usage_condition(self) -> str:
        """SQL: the usage records, as `record`, whose money counts in it."""
        return " AND ".join(
            [
                "record.organization_id = %(organization)s",
                "record.booked_at >= %(begin)s AND record.booked_at < %(until)s",
                *self._owner_conditions("record"),
                *(["record.member_id = ANY(%(members)s)"] if self.members else []),
                *(["record.api_key_id = ANY(%(keys)s)"] if self.keys else []),
                *(["record.model = ANY(%(models)s)"] if self.models else []),
            ]
        )

    @property
    def entry_condition(self) -> str:
        """SQL: the adjustments among ledger entries, as `entry`, that were booked in it."""
        return " AND ".join(
            [
                "entry.organization_id = %(organization)s AND entry.kind = 'adjust'",
                # The month is in the index; the instant tells the days of it apart.
                "entry.window_start >= %(first_month)s AND entry.window_start < %(until)s",
                "entry.recorded_at >= %(begin)s AND entry.recorded_at < %(until)s",
                *self._owner_conditions("entry"),
                *([] if self.has_adjustments else ["false"]),
            ]
        )

    def _owner_conditions(self, alias: str) -> list[str]:
        return [
            *([] if self.projects is None else [f"{alias}.project_id = ANY(%(projects)s)"]),
            *([f"{alias}.team_id = ANY(%(teams)s)"] if self.teams else []),
        ]

    @property
    def told(self) -> dict[str, Any]:
        """It in JSON values, for the audit trail."""
        filters = {"projects": self.projects, "teams": self.teams, "members": self.members, "keys": self.keys}
        named = {name: [str(value) for value in values] for name, values in filters.items() if values is not None}
        told = {"from": self.start.isoformat(), "to": self.end.isoformat(), **named, "models": list(self.models)}
        return {name: value for name, value in told.items() if value or name == "projects"}
