"""The quotas of an organization as a tree: organization, teams, projects, keys and members, with how full each stands.

As many queries however many projects and keys there are. What has no quota of its own is folded: it says by what it is
bound instead.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db.models import Count
from django.urls import reverse

from accounts import access
from accounts.access import Person
from accounts.models import ApiKey, Membership, Organization, Project, Team
from accounts.tiers import standings
from billing.admin.forecasts import reached_in_words
from billing.admin.money import dollars, in_words
from billing.limits import BudgetState, tier_limit
from billing.models import Budget, Measure, Quota, Scope, WindowKind
from billing.money import IN_DOLLARS
from billing.outlook.histories import outlooks
from billing.outlook.reach import Outlook
from billing.quotas import rights
from billing.quotas.standing import states

ZERO: Final = Decimal(0)
SORTS: Final = ("name", "full", "spent", "remaining")
WINDOWS: Final = {
    WindowKind.DAY: "a day",
    WindowKind.WEEK: "a week",
    WindowKind.MONTH: "a month",
    WindowKind.FIXED: "once",
}
# So many names are written out under a fold; more are found by the search of the admin.
NAMED: Final = 300

# A quota, how full it stands, and how it will stand.
Standing = tuple[Quota, BudgetState, Outlook]


@dataclass(frozen=True, slots=True)
class Bar:
    """How full a limit stands, drawn; the sentence says the same."""

    spent_width: str
    held_width: str
    sentence: str


@dataclass(slots=True)
class Row:
    """A line of the table: a limit, or that there is none, or what is folded."""

    level: int
    name: str
    kind: str  # Organization, Team, Project, Key, Member
    is_first: bool = True  # the first line of its owner
    cells: dict[str, Any] | None = None
    note: str = ""
    url: str = ""
    add_url: str = ""
    spend_url: str = ""
    folded: Sequence[tuple[str, str]] = ()  # names, and where a quota is added


@dataclass(slots=True)
class Node:
    """An owner of quotas, and those below it."""

    scope: Scope
    pk: object
    name: str
    quotas: list[Standing] = field(default_factory=list)
    children: list["Node"] = field(default_factory=list)
    plain_keys: int = 0

    @property
    def has_own(self) -> bool:
        return bool(self.quotas)

    @property
    def shows(self) -> bool:
        """Whether it is written out: it has a quota, or one below it has."""
        return self.has_own or any(child.shows for child in self.children)


def cells_of(quota: Quota, state: BudgetState, found: Outlook) -> dict[str, Any]:
    """The columns of one limit. `found`: how it will stand."""
    limit = state.limit
    raised = limit.amount - quota.limit
    return {
        "counts": quota.get_measure_display()
        + (f" of {quota.model}" if quota.model else "")
        + (f", risk {(quota.risk * 100).normalize():f} %" if quota.risk else ""),
        "window": WINDOWS[WindowKind(quota.window)],
        "is_hard": quota.is_hard,
        "raised": in_words(quota.measure, raised) if raised else "",
        "expires": f"{quota.expires_at:%Y-%m-%d %H:%M}" if quota.expires_at else "",
        **figures(quota.measure, limit.amount, state.spent, state.held),
        "resets": f"{limit.window.end:%Y-%m-%d}",
        "reached": reached_in_words(found),
    }


def figures(measure: str, limit: Decimal, spent: Decimal, held: Decimal) -> dict[str, Any]:
    """Limit, spent, held and remaining in words, the part used, and the bar."""
    remaining = max(limit - spent - held, ZERO)
    amounts = {"limit": limit, "spent": spent, "held": held, "remaining": remaining}
    told = {name: in_words(measure, amount) for name, amount in amounts.items()}
    whole = max(limit, spent + held)
    share = (spent + held) * 100 / limit if limit else None
    sentence = f"{told['spent']} spent and {told['held']} held of {told['limit']}; {told['remaining']} remaining."
    return {
        **told,
        # Beside a column that says what is counted.
        "numbers": {name: dollars(a) if measure in IN_DOLLARS else f"{a:,.0f}" for name, a in amounts.items()},
        "share": "–" if share is None else f"{share:.1f} %",
        "bar": Bar(_width(spent, whole), _width(held, whole), sentence),
    }


def tree_of(organization: Organization, person: Person, now: datetime, sort: str = "name") -> list[Row]:
    """The lines of the table, as far as the person sees the organization."""
    sees_all = rights.is_staff_with(person, rights.VIEW)
    teams = Team.objects.all() if sees_all else access.teams(person)
    projects = Project.objects.all() if sees_all else access.projects(person)
    own_teams = list(teams.filter(organization=organization).order_by("name"))
    own_projects = list(projects.filter(organization=organization).order_by("name"))
    found = rights.visible(person).filter(organization=organization)
    quotas = list(found.select_related("organization", "team", "project", "member", "api_key__project").order_by("pk"))
    stand = states(quotas, now)
    ahead = outlooks(stand.values(), now)
    by_owner: dict[tuple[str, object], list[Standing]] = defaultdict(list)
    for quota in quotas:
        if quota.pk in stand:
            owner = quota.team_id or quota.project_id or quota.member_id or quota.api_key_id or organization.pk
            state = stand[quota.pk]
            by_owner[quota.scope, owner].append((quota, state, ahead[state.limit.key]))
    may_add = _addable(person, organization, own_teams, own_projects)
    root = Node(Scope.ORGANIZATION, organization.pk, organization.name, by_owner[Scope.ORGANIZATION, organization.pk])
    root.children = _below(own_teams, own_projects, by_owner, sort)
    writer = _Writer(organization, may_add)
    rows = [writer.tier(_tier_cells(organization, now))]
    writer.write(root, 0, [f"the usage tier’s {rows[0].cells['limit']} a month" if rows[0].cells else "nothing"])
    return [*rows, *writer.rows, *_members(organization, person, by_owner, writer)]


def _below(
    teams: Iterable[Team],
    projects: Iterable[Project],
    by_owner: Mapping[tuple[str, object], list[Standing]],
    sort: str,
) -> list[Node]:
    """Teams with their projects, then the projects of no team (or of one that is not seen), each with its keys."""
    projects = list(projects)
    keys = Counter(
        dict(
            ApiKey.objects.filter(project__in=[project.pk for project in projects], revoked_at=None)
            .order_by()
            .values_list("project")
            .annotate(Count("pk"))
        )
    )
    of_keys: dict[UUID, list[Node]] = defaultdict(list)
    for (scope, pk), own in by_owner.items():
        if scope == Scope.KEY and own and (api_key := own[0][0].api_key):
            of_keys[api_key.project_id].append(Node(Scope.KEY, pk, str(api_key), own))
    nodes = {team.pk: Node(Scope.TEAM, team.pk, team.name, by_owner.get((Scope.TEAM, team.pk), [])) for team in teams}
    loose: list[Node] = []
    for project in projects:
        own_keys = _sorted(of_keys.get(project.pk, []), sort)
        node = Node(Scope.PROJECT, project.pk, project.name, by_owner.get((Scope.PROJECT, project.pk), []), own_keys)
        node.plain_keys = max(keys[project.pk] - len(own_keys), 0)
        team = nodes.get(project.team_id) if project.team_id else None
        (team.children if team else loose).append(node)
    for node in nodes.values():
        node.children = _sorted(node.children, sort)
    return [*_sorted(nodes.values(), sort), *_sorted(loose, sort)]


def _sorted(nodes: Iterable[Node], sort: str) -> list[Node]:
    """By name, or by the figures of the first quota; those without one come last."""

    def key(node: Node) -> tuple[bool, Decimal, str]:
        if sort == "name" or not node.quotas:
            return not node.has_own and sort != "name", ZERO, node.name.lower()
        state = node.quotas[0][1]
        used = state.spent + state.held
        figure = {
            "full": -(used / state.limit.amount if state.limit.amount else used),
            "spent": -state.spent,
            "remaining": state.remaining,
        }[sort]
        return False, figure, node.name.lower()

    return sorted(nodes, key=key)


class _Writer:
    """Writes nodes as rows, each with what it is bound by where it has no quota of its own."""

    def __init__(self, organization: Organization, may_add: "Addable"):
        self._organization, self._may_add, self.rows = organization, may_add, list[Row]()

    def tier(self, cells: dict[str, Any] | None) -> Row:
        name = self._organization.name
        spend = reverse("admin:billing_spend_organization", args=[self._organization.pk])
        note = "" if cells else "No usage tier is known, so nothing is limited by one."
        return Row(0, name, "Usage tier", cells=cells, note=note, spend_url=spend)

    def write(self, node: Node, level: int, bound_by: Sequence[str]) -> None:
        add_url = self.add_url(node)
        if not node.quotas:
            note = f"No quota of its own: bound by {', '.join(bound_by)}."
            self.rows.append(
                Row(level, node.name, node.scope.label, note=note, add_url=add_url, spend_url=self._spend(node))
            )
        for index, (quota, state, found) in enumerate(node.quotas):
            url = reverse("admin:billing_quota_page", args=[self._organization.pk, quota.pk])
            row = Row(level, node.name, node.scope.label, index == 0, cells_of(quota, state, found), url=url)
            if index == 0:
                row.add_url, row.spend_url = add_url, self._spend(node)
            self.rows.append(row)
        own = [
            f"{node.name}’s {in_words(q.measure, s.limit.amount)} {WINDOWS[WindowKind(q.window)]}"
            for q, s, _ in node.quotas
            if not s.limit.is_reserve
        ]
        below = own[:2] or bound_by
        for child in node.children:
            if child.shows:
                self.write(child, level + 1, below)
        self._fold(node, level + 1, below)

    def add_url(self, node: Node) -> str:
        if not self._may_add.here(node):
            return ""
        url = reverse("admin:billing_quota_new", args=[self._organization.pk])
        return f"{url}?scope={node.scope.value}&owner={node.pk}"

    def _fold(self, node: Node, level: int, bound_by: Sequence[str]) -> None:
        """What is below a node and has no quota anywhere, and the keys that have none."""
        without = [child for child in node.children if not child.shows]
        for scope in (Scope.TEAM, Scope.PROJECT):
            some = [child for child in without if child.scope == scope]
            if some:
                names = [(child.name, self.add_url(child)) for child in some[:NAMED]]
                keys = sum(child.plain_keys for child in some)
                told = _count(len(some), scope.label.lower()) + (f" with {_count(keys, 'key')}" if keys else "")
                note = f"{told} without a quota: bound by {', '.join(bound_by)}."
                self.rows.append(Row(level, told, str(scope.label), note=note, folded=names))
        if node.plain_keys:
            note = f"{_count(node.plain_keys, 'key')} without a quota: bound by {', '.join(bound_by)}."
            self.rows.append(Row(level, "Keys", "Key", note=note))

    def _spend(self, node: Node) -> str:
        if node.scope != Scope.PROJECT:
            return ""
        return f"{reverse('admin:billing_spend_organization', args=[self._organization.pk])}?project={node.pk}"


@dataclass(frozen=True, slots=True)
class Addable:
    """Where the person may add a quota."""

    everywhere: bool
    places: frozenset[object]

    def here(self, node: Node) -> bool:
        return self.everywhere or (node.pk in self.places and node.scope in {Scope.TEAM, Scope.PROJECT})


def _addable(person: Person, organization: Organization, teams: Sequence[Team], projects: Sequence[Project]) -> Addable:
    capability = access.Capability.MANAGE_QUOTAS
    if rights.is_staff_with(person, rights.CHANGE) or access.may(person, capability, organization.pk):
        return Addable(True, frozenset())
    led = set(access.teams(person, capability).filter(organization=organization).values_list("pk", flat=True))
    return Addable(False, frozenset(led | {project.pk for project in projects if project.team_id in led}))


def _members(
    organization: Organization,
    person: Person,
    by_owner: Mapping[tuple[str, object], list[Standing]],
    writer: _Writer,
) -> list[Row]:
    """Members with a quota of their own, and how many have none."""
    before = len(writer.rows)
    nodes = [
        Node(Scope.MEMBER, pk, own[0][0].owner_name, own)
        for (scope, pk), own in by_owner.items()
        if scope == Scope.MEMBER and own
    ]
    for node in _sorted(nodes, "name"):
        writer.write(node, 1, [])
    rows = writer.rows[before:]
    del writer.rows[before:]
    people = Membership.objects.filter(organization=organization).select_related("user").order_by("user__email")
    sees = rights.is_staff_with(person, rights.VIEW) or access.may(person, access.Capability.SEE_SPEND, organization.pk)
    if sees and (without := [each for each in people if each.user_id not in {node.pk for node in nodes}]):
        told = _count(len(without), "member")
        names = [
            (str(each.user), writer.add_url(Node(Scope.MEMBER, each.user_id, str(each.user))))
            for each in without[:NAMED]
        ]
        note = f"{told} without a quota: bound by what binds the projects that they work in."
        rows.append(Row(1, told, "Member", note=note, folded=names))
    return rows


def _tier_cells(organization: Organization, now: datetime) -> dict[str, Any] | None:
    """The monthly limit of the tier on the whole organization."""
    try:
        tier = standings([organization], now)[organization.pk].tier
    except LookupError:
        return None
    limit = tier_limit(organization, None, tier, now)
    budget = Budget.objects.filter(
        organization=organization, quota=None, project=None, window_start=limit.window.start
    ).first()
    spent, held = (budget.spent, budget.held) if budget else (ZERO, ZERO)
    ahead = outlooks([BudgetState(limit, spent, held)], now)[limit.key]
    return {
        "counts": f"{Measure.USD.label}, {tier.name}",
        "window": WINDOWS[WindowKind.MONTH],
        "is_hard": True,
        **figures(Measure.USD, tier.monthly_limit_usd, spent, held),
        "resets": f"{limit.window.end:%Y-%m-%d}",
        "reached": reached_in_words(ahead),
    }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _width(amount: Decimal, whole: Decimal) -> str:
    return f"{max(amount, ZERO) * 100 / whole:.2f}" if whole else "0"
