"""The budgets on which limits are kept: which there are, how full they stand, and how one is opened."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet, Sum

from accounts.models import ApiKey, Organization
from accounts.tiers import standing, standings
from billing import books
from billing.amounts import Amounts
from billing.arrays import array, columns
from billing.counting import held_in, spent_in
from billing.grants import Account
from billing.limits import BudgetState, Key, Limit, Owner, QuotaTerms, binding, limit_of
from billing.models import Budget, Hold, Quota, QuotaRequest, RequestStatus, Scope

# One part for quotas, one for the tier's limit on projects and one for that on organizations: each finds its rows by
# the whole of the unique index, which no comparison of Nones could use.
_ACCOUNT = 'SELECT organization_id, quota_id, project_id, window_start, id, "limit", held, spent FROM wanted JOIN '
_ACCOUNTS = f"""
    WITH wanted AS (SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::timestamptz[])
                    AS wanted (organization, quota, project, start))
    {_ACCOUNT} billing_budget ON organization_id = organization AND quota_id = quota AND window_start = start
    UNION ALL
    {_ACCOUNT} billing_budget ON organization_id = organization AND quota IS NULL AND quota_id IS NULL
        AND project_id = project AND window_start = start
    UNION ALL
    {_ACCOUNT} billing_budget ON organization_id = organization AND quota IS NULL AND quota_id IS NULL
        AND project IS NULL AND project_id IS NULL AND window_start = start
"""  # noqa: S608


def owner_of(api_key: ApiKey, model: str | None = None) -> Owner:
    """Whom the calls of an API key belong to: its project and team, its maker, itself."""
    project = api_key.project
    return Owner(project, project.team_id, api_key.created_by_id, api_key.pk, model)


def limits_of(owner: Owner, now: datetime) -> tuple[Limit, ...]:
    """Every limit that binds an owner's calls now.

    The tier's on the organization and on the project, and each quota.
    """
    return limits_of_all([owner], now)[owner]


def limits_of_all(owners: Iterable[Owner], now: datetime) -> dict[Owner, tuple[Limit, ...]]:
    """The same for many owners, in as many queries as for one. Raises LookupError if no tier row exists at all."""
    owners = list(dict.fromkeys(owners))
    stands = standings({owner.organization.pk: owner.organization for owner in owners}.values(), now)
    quotas: dict[UUID, list[QuotaTerms]] = {pk: [] for pk in stands}
    for quota in _quotas(owners, now):
        quotas[quota.organization_id].append(quota)
    return {
        owner: binding(owner, quotas[owner.organization.pk], stands[owner.organization.pk].tier, now)
        for owner in owners
    }


# Only those that may bind one of the owners: an organization may have thousands that bind others. The names are asked
# for one by one, because a join of six tables takes ten times as long to plan as all of this takes to run.
_QUOTAS = """
    SELECT id, organization_id, scope, team_id, project_id, member_id, api_key_id, model, measure, "window",
        "limit" + COALESCE((SELECT sum(granted_amount) FROM billing_quotarequest
                            WHERE quota_id = quota.id AND status = %s AND decided_at <= %s AND granted_until > %s), 0),
        is_hard, starts_at, expires_at, risk,
        COALESCE(
            (SELECT name FROM accounts_team WHERE id = quota.team_id),
            (SELECT name FROM accounts_project WHERE id = quota.project_id),
            (SELECT email FROM accounts_user WHERE id = quota.member_id),
            (SELECT name || ' (' || prefix || '...)' FROM accounts_apikey WHERE id = quota.api_key_id),
            (SELECT name FROM accounts_organization WHERE id = quota.organization_id)
        )
    FROM billing_quota quota
    WHERE organization_id = ANY(%s::uuid[])
        AND (scope = %s OR team_id = ANY(%s::uuid[]) OR project_id = ANY(%s::uuid[])
            OR member_id = ANY(%s::bigint[]) OR api_key_id = ANY(%s::uuid[]))
        AND (starts_at IS NULL OR starts_at <= %s) AND (expires_at IS NULL OR expires_at > %s)
    ORDER BY id
"""


def _quotas(owners: Sequence[Owner], now: datetime) -> list[QuotaTerms]:
    """The quotas in force at an instant that may bind one of these owners, in a stable order."""
    columns_of = (
        {owner.team_id for owner in owners if owner.team_id},
        {owner.project.pk for owner in owners},
        {owner.member_id for owner in owners if owner.member_id},
        {owner.api_key_id for owner in owners if owner.api_key_id},
    )
    organizations = array({owner.organization.pk for owner in owners})
    with connection.cursor() as cursor:
        raises = (RequestStatus.APPROVED, now, now)
        scopes = (Scope.ORGANIZATION, *[array(ids) for ids in columns_of])
        cursor.execute(_QUOTAS, [*raises, organizations, *scopes, now, now])
        return [QuotaTerms(*row) for row in cursor.fetchall()]


def quotas_at(organization_ids: Iterable[UUID], now: datetime) -> QuerySet[Quota]:
    """The quotas of these organizations that are in force at an instant, in a stable order."""
    begun = Q(starts_at__isnull=True) | Q(starts_at__lte=now)
    not_over = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
    rows = Quota.objects.filter(begun, not_over, organization_id__in=list(organization_ids))
    return rows.select_related("organization", "team", "project", "member", "api_key").order_by("id")


def raised_at(now: datetime, **of: Any) -> dict[UUID, Decimal]:
    """By how much quotas are raised at an instant, in their measures; those that are. `of`: filters on requests."""
    raises = QuotaRequest.objects.filter(
        status=RequestStatus.APPROVED, decided_at__lte=now, granted_until__gt=now, **of
    ).order_by()
    return dict(raises.values_list("quota").annotate(Sum("granted_amount")))


def limit_now(quota: Quota, now: datetime) -> Limit:
    """A stored quota as the limit that it is at an instant, with its raises."""
    return limit_of(quota, now, raised_at(now, quota=quota.pk).get(quota.pk, Decimal(0)))


def states_of(owner: Owner, now: datetime) -> list[BudgetState]:
    """Every limit that binds an owner's calls now, and how full it stands. What was never opened is counted."""
    limits = limits_of(owner, now)
    found = _accounts(limits)
    return [state_of(limit, found.get(limit.key)) for limit in limits]


def state_of(limit: Limit, account: Account | Budget | None) -> BudgetState:
    """How full a limit stands on its budget; by count where it has none yet, as a quota that was just made."""
    if account is not None:
        return BudgetState(limit, account.spent, account.held)
    held = held_in(limit, limit.counted)
    return BudgetState(limit, spent_in(limit, limit.counted), sum((limit.counts(h) for h in held.values()), Decimal(0)))


def account_of(limit: Limit) -> Account | None:
    """The budget of one limit as it stands, or None where it was never opened."""
    return _accounts([limit]).get(limit.key)


def open_accounts(limits: Iterable[Limit]) -> dict[Key, Account]:
    """The budgets of these limits by key, with the limits as they stand now. The organizations' books are locked.

    A budget that is opened in the middle of its window starts with all that was used in it: a quota counts from the
    beginning of its window, and not from the moment at which somebody thought of it.
    """
    wanted = {limit.key: limit for limit in limits}
    found = _accounts(wanted.values())
    for key, account in found.items():
        if account.limit != wanted[key].amount:
            account.limit = wanted[key].amount
            Budget.objects.filter(pk=account.budget_id).update(limit=account.limit)
    return found | {key: _open(limit) for key, limit in wanted.items() if key not in found}


@transaction.atomic
def refresh_limits(organization: Organization, now: datetime) -> None:
    """Writes the limits as they are configured now onto the open budgets, so that every page shows them at once."""
    books.lock([organization.pk])
    tier = standing(organization, now).tier
    budgets = list(Budget.objects.filter(organization=organization, window_end__gt=now).select_related("quota"))
    raised = raised_at(now, organization=organization)
    for budget in budgets:
        quota = budget.quota
        budget.limit = quota.limit + raised.get(quota.pk, Decimal(0)) if quota else tier.monthly_limit_usd
    Budget.objects.bulk_update(budgets, ["limit"])


def recount(quota: Quota) -> None:
    """Forgets what was counted for a quota that counts something else now; it is counted anew when needed."""
    books.lock([quota.organization_id])
    Budget.objects.filter(quota=quota).delete()


def _accounts(limits: Iterable[Limit]) -> dict[Key, Account]:
    """The budgets that there are for these limits, in one query."""
    wanted = {limit.key for limit in limits}
    if not wanted:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_ACCOUNTS, columns(list(wanted)))
        return {row[:4]: Account(*row[4:]) for row in cursor.fetchall()}


def _open(limit: Limit) -> Account:
    """A new budget with all that was used and is held in its window."""
    held: Mapping[UUID, Amounts] = held_in(limit, limit.counted)
    budget = Budget.objects.create(
        organization_id=limit.organization_id,
        quota_id=limit.quota_id,
        project_id=limit.project_id,
        scope=limit.scope,
        measure=limit.measure,
        window_start=limit.window.start,
        window_end=limit.window.end,
        limit=limit.amount,
        spent=spent_in(limit, limit.counted),
        held=sum((limit.counts(amounts) for amounts in held.values()), Decimal(0)),
    )
    Hold.objects.bulk_create(
        Hold(reservation_id=reservation_id, budget=budget, amount=limit.counts(amounts))
        for reservation_id, amounts in held.items()
    )
    return Account(budget.pk, budget.limit, budget.held, budget.spent)
