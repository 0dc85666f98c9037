"""Making, changing and ending quotas: checked, counted and audited, behind the lock of the organization's money.

What is refused is said by field in a ValidationError. Who may do it is asked before, of `billing.quotas.rights`.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit
from accounts.audit import Who
from accounts.models import AuditAction
from billing import books
from billing.budgets import limit_now, open_accounts, recount
from billing.clock import database_now
from billing.models import Budget, Measure, Price, Quota, WindowKind
from billing.money import plain
from billing.quotas import news

SUBJECT: Final = "quota"
# What decides what a quota counts; with another one it is counted anew. When it ends is none of them: until now it
# counted the same.
COUNTED: Final = frozenset({"scope", "team", "project", "member", "api_key", "model", "measure", "window", "starts_at"})
HAS_PASSED: Final = "This has passed. A quota that is to end now is expired instead."
SHOWN: Final = (*sorted(COUNTED), "limit", "is_hard", "expires_at", "risk")
STAYS_A_RESERVE: Final = "A reserve stays one, and nothing else becomes one: end it, and make another quota."


@transaction.atomic
def create(quota: Quota, *, by: Who) -> Quota:
    """Stores a new quota and counts what its window has used and holds already. Raises ValidationError."""
    books.lock([quota.organization_id])
    now = database_now()
    _check(quota, SHOWN, now)
    quota.save(force_insert=True)
    follow(quota, now)
    _record(AuditAction.CREATED, quota, by, after=shown(quota))
    news.limits_changed(quota.organization_id)
    return quota


@transaction.atomic
def change(quota: Quota, fields: Mapping[str, Any], *, by: Who, reason: str = "") -> Quota:
    """Sets these fields of a stored quota; the open budget follows at once. Returns the quota as it is now.

    Raises ValidationError. A limit below what is spent and held stops new calls only.
    """
    books.lock([quota.organization_id])
    now = database_now()
    stored = _stored(quota)
    before = shown(stored)
    was_over = stored.expires_at is not None and stored.expires_at <= now
    changed = [name for name, value in fields.items() if getattr(stored, name) != value]
    if "measure" in changed and Measure.RESERVE in (stored.measure, fields["measure"]):
        # What calls under way hold on it would be nowhere.
        raise ValidationError({"measure": STAYS_A_RESERVE})
    for name in changed:
        setattr(stored, name, fields[name])
    _check(stored, changed, now)
    if not changed:
        return stored
    stored.save(update_fields=changed)
    is_fixed = stored.window == WindowKind.FIXED
    if COUNTED.intersection(changed) or ("expires_at" in changed and (was_over or is_fixed)):
        recount(stored)
    follow(stored, now)
    after = shown(stored)
    differing = [name for name in after if after[name] != before[name]]
    _record(
        *(AuditAction.UPDATED, stored, by),
        before={name: before[name] for name in differing},
        after={name: after[name] for name in differing},
        reason=reason,
    )
    news.limits_changed(stored.organization_id)
    return stored


@transaction.atomic
def expire(quota: Quota, *, by: Who, reason: str = "") -> Quota:
    """Ends a quota now; what was counted for it stays. Ending one that is over changes nothing.

    Raises ValidationError for one that has not begun.
    """
    books.lock([quota.organization_id])
    now = database_now()
    stored = _stored(quota)
    if stored.expires_at is not None and stored.expires_at <= now:
        return stored
    if stored.starts_at is not None and stored.starts_at >= now:
        raise ValidationError({"starts_at": "The quota has not begun. Remove it instead."})
    before = shown(stored)
    stored.expires_at = now
    stored.save(update_fields=["expires_at"])
    # A fixed window ends with its quota.
    if stored.window == WindowKind.FIXED:
        Budget.objects.filter(quota=stored, window_end__gt=now).update(window_end=now)
    _record(
        *(AuditAction.UPDATED, stored, by),
        before={"expires_at": before["expires_at"]},
        after={"expires_at": shown(stored)["expires_at"]},
        reason=reason,
    )
    news.limits_changed(stored.organization_id)
    return stored


@transaction.atomic
def remove(quota: Quota, *, by: Who, reason: str = "") -> Quota | None:
    """Deletes a quota that was never used; one that was is ended and kept, and returned."""
    # Before the row: a call that is being granted on it holds the book, and waits for the row.
    books.lock([quota.organization_id])
    stored = _stored(quota)
    was_used = Budget.objects.filter(quota=stored).exclude(spent=0, held=0).exists()
    if was_used or stored.requests.exists():
        return expire(stored, by=by, reason=reason)
    _record(AuditAction.DELETED, stored, by, before=shown(stored), reason=reason)
    stored.delete()
    news.limits_changed(stored.organization_id)
    return None


def binds_at(quota: Quota, instant: datetime) -> bool:
    """Whether a quota is in force at an instant."""
    has_begun = quota.starts_at is None or quota.starts_at <= instant
    return has_begun and (quota.expires_at is None or instant < quota.expires_at)


def shown(quota: Quota) -> dict[str, Any]:
    """What the audit trail keeps of a quota: JSON values, amounts as decimal strings."""
    return {name: _json(quota, name) for name in SHOWN}


def _json(quota: Quota, name: str) -> Any:
    value = getattr(quota, Quota._meta.get_field(name).attname)  # type: ignore[union-attr]  # all are columns
    if name == "risk":
        return quota.stated_risk
    if isinstance(value, Decimal):
        return plain(quota.measure, value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S.%fZ}"
    return value if isinstance(value, bool | int | str) or value is None else str(value)


def _stored(quota: Quota) -> Quota:
    """The row as it stands behind the lock. Raises Quota.DoesNotExist, if somebody has removed it meanwhile."""
    return Quota.objects.select_related("organization", "team", "project", "member", "api_key").get(pk=quota.pk)


def follow(quota: Quota, now: datetime) -> None:
    """Writes the limit of a stored quota, with its raises, onto its open budget, which is opened if need be.

    The organization's book is locked.
    """
    if binds_at(quota, now):
        open_accounts([limit_now(quota, now)])


def _check(quota: Quota, changed: Iterable[str], now: datetime) -> None:
    """Raises ValidationError with what is wrong, by field."""
    quota.full_clean()
    if "model" in changed and quota.model and not Price.objects.filter(model=quota.model).exists():
        raise ValidationError(
            {"model": "No price is known for this model, so no call of it is ever made. Leave it empty for all models."}
        )
    if "expires_at" in changed and quota.expires_at is not None and quota.expires_at <= now:
        raise ValidationError({"expires_at": HAS_PASSED})


def _record(action: AuditAction, quota: Quota, by: Who, **more: Any) -> None:
    audit.record(*(action, SUBJECT, quota.pk), by=by, organization_id=quota.organization_id, name=str(quota), **more)
