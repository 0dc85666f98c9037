"""What a dashboard's URL asks for: period, split and filters, which every link keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import Http404, QueryDict

from accounts.models import Project, Team, User
from billing.dashboard.daily import SPLITS, Scope
from billing.dashboard.period import CHOICES, OWN, THIS_MONTH, Period, month_before, period_of
from billing.models import KeyRollup, ModelRollup
from jobs.admin.dashboard.sight import Sight

# In the order in which links have them.
NAMES = ("period", "from", "to", "split", "project", "team", "model", "member", "against", "against_from", "against_to")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is shown. `misread`: a period that was written, and is none; this month is shown instead."""

    today: date
    period: Period
    split: str
    project: Project | None
    team: Team | None
    member: User | None
    model: str
    misread: str
    written: Mapping[str, str]

    def query(self, **changes: str) -> str:
        """The query of a link to the same with these changes; an empty value takes a filter away."""
        wanted = {**self.written, **changes}
        return urlencode([(name, wanted[name]) for name in NAMES if wanted.get(name)])

    @property
    def links(self) -> dict[str, list[tuple[str, str, bool]]]:
        """Links to each period and each split: name, query, and whether it is the one shown."""
        plain = {"from": "", "to": "", "against": "", "against_from": "", "against_to": ""}
        return {
            "months": [
                (f"{month:%B %Y}", self.query(**plain, period=f"{month:%Y-%m}"), False) for month in self._neighbours
            ],
            "periods": [
                (label, self.query(**plain, period=key), key == self.period.key) for key, label in CHOICES if key != OWN
            ],
            "splits": [(split, self.query(split=split), split == self.split) for split in SPLITS],
        }

    @property
    def _neighbours(self) -> list[date]:
        """The first days of the month before the one shown, and of the one after where it has begun."""
        if not self.period.is_month:
            return []
        months = [month_before(self.period.first_day), self.period.end_day]
        return [month for month in months if month <= self.today]

    @property
    def is_filtered(self) -> bool:
        return bool(self.project or self.team or self.member or self.model)

    def scope(self, sight: Sight) -> Scope:
        """Whose spend that is, as far as the person sees it."""
        values = {
            "project": self.project and self.project.pk,
            "team_id": self.team and self.team.pk,
            "member_id": self.member and self.member.pk,
            "model": self.model,
        }
        return Scope(sight.organization, sight.spend, {name: value for name, value in values.items() if value})


def asked(query: QueryDict, sight: Sight, today: date) -> Asked:
    """What a query asks for. Raises Http404 for an owner that the person does not see."""
    written = {name: str(query[name]).replace("\x00", "")[:100] for name in NAMES if query.get(name)}
    key = written.get("period", THIS_MONTH)
    period = period_of(key, written.get("from", ""), written.get("to", ""), today)
    this_month = period_of(THIS_MONTH, "", "", today)
    assert this_month, "there is always one"
    split = written.get("split", SPLITS[0])
    return Asked(
        today=today,
        period=period or this_month,
        split=split if split in SPLITS else SPLITS[0],
        project=_one(sight.projects_with_spend(), written.get("project")),
        team=_one(Team.objects.filter(projects__in=sight.projects_with_spend()).distinct(), written.get("team")),
        member=_member(sight, written.get("member")),
        model=written.get("model", ""),
        misread="" if period else " ".join(filter(None, (key, written.get("from"), written.get("to")))),
        written=written if period else {name: text for name, text in written.items() if name in NAMES[3:8]},
    )


def choices(sight: Sight, shown: Asked) -> dict[str, list[tuple[str, str, bool]]]:
    """What each filter can be set to: value, label, whether it is. Models and members are those of the period."""
    projects = sight.projects_with_spend()
    months = {"organization": sight.organization, "day__gte": shown.period.first_day.replace(day=1)}
    months["day__lt"] = shown.period.end_day
    if sight.spend is not None:
        months["project__in"] = list(sight.spend)
    models = set(ModelRollup.objects.filter(**months).order_by().values_list("model", flat=True).distinct())
    ids = KeyRollup.objects.filter(**months, member_id__isnull=False).order_by()
    members = User.objects.filter(pk__in=set(ids.values_list("member_id", flat=True).distinct())).order_by("email")
    teams = Team.objects.filter(projects__in=projects).distinct().order_by("name")
    return {
        "project": _options(projects.order_by("name").values_list("pk", "name"), shown.project),
        "team": _options(teams.values_list("pk", "name"), shown.team),
        "model": [(name, name, name == shown.model) for name in sorted(models | {shown.model} - {""})],
        "member": _options(members.values_list("pk", "email"), shown.member),
    }


def _options(rows: Any, chosen: Any) -> list[tuple[str, str, bool]]:
    return [(str(pk), label, chosen is not None and pk == chosen.pk) for pk, label in rows]


def _one(rows: Any, text: str | None) -> Any:
    """The row with this id. Raises Http404."""
    if not text:
        return None
    try:
        found = rows.filter(pk=UUID(text)).first()
    except ValueError:
        found = None
    if found is None:
        raise Http404("There is nothing of this id here.")
    return found


def _member(sight: Sight, text: str | None) -> User | None:
    """A member of the organization, or somebody whose calls it has. Raises Http404."""
    if not text:
        return None
    # No more digits than an id has.
    if text.isdecimal() and len(text) < 19:
        is_member = {"pk": int(text), "memberships__organization": sight.organization}
        found = User.objects.filter(**is_member).first()
        if found is None and sight.is_whole:
            spent = KeyRollup.objects.filter(organization=sight.organization, member_id=int(text))
            found = User.objects.filter(pk=int(text)).first() if spent.exists() else None
        if found is not None:
            return found
    raise Http404("There is no such member here.")
