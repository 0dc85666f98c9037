"""Bursar's money core behind the steps of a schedule: the same words in, the same words out as from the model."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts import api_keys
from accounts.models import ApiKey, Organization, Project, Team, TierOverride, UsageTier, User
from billing import books, budgets, closing, ledger, verification
from billing.errors import AlreadyReleased, NoSuchReservation
from billing.limits import Owner
from billing.models import Budget, LedgerEntry, Price, Quota, Reservation, UsageRecord
from billing.pricing import Tokens
from tests.simulation import model as plain

TERMS = date(2024, 9, 30)


class RolledBack(Exception):
    """The crash of a step."""


class Product:
    """An empty database's organizations, projects, teams, members and keys, by the names that the world gives them."""

    def __init__(self, world: plain.World, tier: dict[str, int], tier_limits: dict[int, Decimal], now: datetime):
        self.world, self.now = world, now
        self.quotas: dict[str, Any] = {}
        self.prices: dict[str, Price] = {}
        for number, limit in tier_limits.items():
            UsageTier.objects.filter(number=number).update(monthly_limit_usd=limit)
        self.users = {name: User.objects.create(email=f"{name}@simulation.example") for name in world.members}
        self.actor = next(iter(self.users.values()))
        self.organizations = {
            name: Organization.objects.create(name=name, slug=name.lower(), terms_on=TERMS)
            for name in world.organizations
        }
        self.teams = {
            f"{name}/{team}": Team.objects.create(organization=row, name=f"{name}/{team}")
            for name, row in self.organizations.items()
            for team in ("team", "crew")
        }
        self.projects = {
            name: Project.objects.create(
                organization=self.organizations[owner],
                name=name,
                slug=name[2:],
                team=self.teams.get(world.project_team[name] or ""),
            )
            for name, owner in world.project_organization.items()
        }
        self.keys: dict[str, ApiKey] = {
            name: api_keys.issue(
                self.projects[project], name=name, created_by=self.users[world.key_member[name]]
            ).api_key
            for name, project in world.key_project.items()
        }
        for name, number in tier.items():
            self._override(name, number)

    # --- Steps --------------------------------------------------------------------------------------------------------
    def apply(self, step: plain.Step) -> Any:
        """Takes a step in a transaction of its own and says what came out of it."""
        do: Callable[[Any], Any] = getattr(self, f"_{type(step).__name__.lower()}")
        try:
            with transaction.atomic():
                return do(step)
        except NoSuchReservation:
            return "no such reservation"
        except AlreadyReleased:
            return "already released"

    def _reserve(self, step: plain.Reserve) -> list[Any]:
        refusals = ledger.reserve([self._claim(call) for call in step.calls])
        refused = {str(refusal.claim.reference): self._said(refusal) for refusal in refusals}
        return [refused.get(call.reference, "granted") for call in step.calls]

    def _said(self, refusal: ledger.Refusal) -> Any:
        state, limit = refusal.budget, refusal.budget.limit
        return (limit.scope, limit.measure, self._quota_name(limit.quota_id), state.held, state.spent, state.remaining)

    def _settle(self, step: plain.Settle) -> Any:
        usage = _usage(step)
        return _of_record(
            ledger.settle(usage.reference, usage.tokens, snapshot=usage.snapshot, is_empty=usage.is_empty)
        )

    def _settleall(self, step: plain.SettleAll) -> list[Any]:
        return [_of_record(record) for record in ledger.settle_all([_usage(settle) for settle in step.settles])]

    def _release(self, step: plain.Release) -> None:
        ledger.release(UUID(step.reference), reason="simulated")

    def _releaseall(self, step: plain.ReleaseAll) -> None:
        ledger.release_all({UUID(reference): "simulated" for reference in step.references})

    def _doubt(self, step: plain.Doubt) -> None:
        ledger.mark_in_doubt(UUID(step.reference), reason="simulated")

    def _adjust(self, step: plain.Adjust) -> None:
        ledger.adjust(self.projects[step.project], step.usd, reason="simulated", actor=self.actor)

    def _addquota(self, step: plain.AddQuota) -> None:
        """As the admin does it: the row, and where it binds by now, its budget."""
        row = Quota.objects.create(**self._fields(step.quota))
        self.quotas[step.quota.name] = row.pk
        if step.at_once:
            self._open(row)

    def _changequota(self, step: plain.ChangeQuota) -> None:
        row = Quota.objects.get(pk=self.quotas[step.quota.name])
        books.lock([row.organization_id])
        for name, value in self._fields(step.quota).items():
            setattr(row, name, value)
        row.save()
        budgets.recount(row)
        self._open(row)

    def _changelimit(self, step: plain.ChangeLimit) -> None:
        row = Quota.objects.get(pk=self.quotas[step.name])
        books.lock([row.organization_id])
        row.limit, row.is_hard = step.limit, step.is_hard
        row.save()
        if step.refresh:
            budgets.refresh_limits(row.organization, self.now)

    def _removequota(self, step: plain.RemoveQuota) -> None:
        row = Quota.objects.get(pk=self.quotas[step.name])
        books.lock([row.organization_id])
        row.delete()

    def _moveproject(self, step: plain.MoveProject) -> None:
        project = self.projects[step.project]
        project.team = self.teams[step.team] if step.team else None
        project.save(update_fields=["team"])

    def _settier(self, step: plain.SetTier) -> None:
        self._override(step.organization, step.tier)
        if step.refresh:
            budgets.refresh_limits(self.organizations[step.organization], self.now)

    def _newprice(self, step: plain.NewPrice) -> None:
        self.prices[step.name] = Price.objects.create(
            model=step.model,
            input_usd_per_million=step.input,
            cached_input_usd_per_million=step.cached,
            output_usd_per_million=step.output,
            effective_from=date.fromordinal(TERMS.toordinal() + len(self.prices)),
            source=step.name,
        )

    def _jump(self, step: plain.Jump) -> None:
        self.now = step.to

    def _closemonths(self, step: plain.CloseMonths) -> None:
        closing.close_until(self.organizations[step.organization], self.now)

    def _crash(self, step: plain.Crash) -> None:
        before, kept = self.everything(), (self.now, dict(self.quotas), dict(self.prices))
        try:
            with transaction.atomic():
                self.apply(step.step)
                raise RolledBack
        except RolledBack:
            self.now, self.quotas, self.prices = kept
            for project in self.projects.values():
                project.refresh_from_db(fields=["team"])
        assert self.everything() == before, "something of a step that was rolled back stayed"

    # --- What stands in the books -------------------------------------------------------------------------------------
    def budget_rows(self) -> dict[tuple[str, str, str, datetime], tuple[Decimal, Decimal]]:
        """(held, spent) of every budget there is, by quota name, scope, project or organization, and window."""
        projects = {row.pk: name for name, row in self.projects.items()}
        organizations = {row.pk: name for name, row in self.organizations.items()}
        return {
            (
                self._quota_name(row.quota_id),
                row.scope,
                "" if row.quota_id else projects.get(row.project_id, organizations[row.organization_id]),
                row.window_start,
            ): (row.held, row.spent)
            for row in Budget.objects.all()
        }

    def states(self, key: str, model: str | None) -> list[Any]:
        """Every limit on a key's calls now, and how full it stands."""
        return [
            (
                self._quota_name(state.limit.quota_id),
                state.limit.scope,
                state.limit.measure,
                state.limit.window.start,
                state.limit.window.end,
                state.limit.amount,
                state.limit.is_hard,
                state.held,
                state.spent,
                state.remaining,
            )
            for state in budgets.states_of(self._owner(key, model), self.now)
        ]

    def reservations(self) -> dict[str, Any]:
        """Every reservation's state, what was settled and what its usage record says."""
        rows = Reservation.objects.select_related("usage_record")
        return {
            str(row.reference): (
                row.status,
                row.is_in_doubt,
                row.reserved_at,
                row.settled_usd,
                _of_record(row.usage_record)[1] if row.status == "settled" else None,
            )
            for row in rows
        }

    def paused(self) -> set[str]:
        return set(Project.objects.filter(paused_at__isnull=False).values_list("name", flat=True))

    def everything(self) -> Any:
        counts = [table.objects.count() for table in (LedgerEntry, UsageRecord, Quota, Price, TierOverride)]
        teams = set(Project.objects.values_list("name", "team"))
        return self.budget_rows(), self.reservations(), self.paused(), teams, counts

    def differences(self) -> list[verification.Difference]:
        """What `verify` finds in the books that there are."""
        with_book = Organization.objects.filter(book__isnull=False)
        return [difference for organization in with_book for difference in verification.verify(organization)]

    # --- Names and rows -----------------------------------------------------------------------------------------------
    def _quota_name(self, pk: Any) -> str:
        return next((name for name, known in self.quotas.items() if known == pk), "") if pk else ""

    def _owner(self, key: str, model: str | None) -> Owner:
        row = self.keys[key]
        project = self.projects[self.world.key_project[key]]
        return Owner(project, project.team_id, row.created_by_id, row.pk, model)

    def _claim(self, call: plain.Call) -> ledger.Claim:
        return ledger.Claim(
            reference=UUID(call.reference),
            amount_usd=call.usd,
            input_tokens=call.input,
            output_tokens=call.output,
            owner=self._owner(call.key, call.model),
            service_tier="standard",
            price=self.prices[call.price],
            likely=None if call.likely is None else ledger.Likely(call.likely, call.risk),
        )

    def _fields(self, quota: plain.Quota) -> dict[str, Any]:
        owners = {"team": self.teams, "project": self.projects, "member": self.users, "key": self.keys}
        column = {"key": "api_key"}.get(quota.scope, quota.scope)
        fields = asdict(quota)
        named = {"starts_at": fields.pop("starts"), "expires_at": fields.pop("expires")}
        for name in ("name", "owner"):
            del fields[name]
        fields = {**fields, **named, "organization": self.organizations[quota.organization]}
        return {**fields, column: owners[quota.scope][quota.owner]} if quota.scope in owners else fields

    def _open(self, row: Quota) -> None:
        """Opens the quota's budget by way of an owner whom it binds, if it binds now."""
        for key in self.keys:
            limits = budgets.limits_of(self._owner(key, row.model or None), self.now)
            mine = [limit for limit in limits if limit.quota_id == row.pk]
            if mine:
                books.lock([row.organization_id])
                budgets.open_accounts(mine)
                return

    def _override(self, name: str, number: int) -> None:
        TierOverride.objects.create(
            organization=self.organizations[name], tier=number, reason="simulated", actor=self.actor
        )


def _usage(step: plain.Settle) -> ledger.Usage:
    tokens = Tokens(step.input, step.cached, step.output, step.reasoning)
    return ledger.Usage(UUID(step.reference), tokens, "simulated", is_empty=step.output == step.reasoning)


def _of_record(record: UsageRecord) -> Any:
    tokens = (record.input_tokens, record.cached_input_tokens, record.output_tokens, record.reasoning_tokens)
    return record.total_usd, tokens, record.is_overrun
