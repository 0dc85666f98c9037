"""Asking for more: a request is made, decided once, and if it is approved raises its quota until an instant.

Each act holds the book of the organization, like every change of a limit; so of two who decide at once the second finds
the request decided.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit
from accounts.audit import SERVICE, Who
from accounts.models import AuditAction, User
from billing import books
from billing.budgets import raised_at
from billing.clock import database_now
from billing.errors import AlreadyAsked, NotAllowed, OwnRequest, RequestDecided
from billing.limits import window_of
from billing.models import Quota, QuotaRequest, RequestStatus
from billing.money import IN_DOLLARS, plain
from billing.quotas import changes, news, rights

SUBJECT: Final = "quota_request"
# A raise for longer than this is no raise, but another limit.
LONGEST: Final = timedelta(days=366)
ABOVE_ALL: Final = Decimal(10) ** 12  # no amount is stored that has more digits
WITH_QUOTA: Final = ("quota__organization", "quota__team", "quota__project", "quota__member", "quota__api_key__project")


@transaction.atomic
def ask(
    quota: Quota, amount: Decimal, *, reason: str, asked_by: User, by: Who, until: datetime | None = None
) -> QuotaRequest:
    """A new request for so much more than the quota's limit, in its measure.

    `until`: by default the end of the window that is open. Raises ValidationError, NotAllowed, and AlreadyAsked.
    """
    if not rights.may_ask(asked_by, quota.organization_id):
        raise NotAllowed("The role of viewers and of billing does not ask for quota; it manages it, or looks.")
    books.lock([quota.organization_id])
    now = database_now()
    if not changes.binds_at(quota, now):
        raise ValidationError({"quota": "This quota binds nothing now. Ask for more of one that is in force."})
    request = QuotaRequest(
        organization=quota.organization,
        quota=quota,
        amount=amount,
        until=until or window_of(quota, now).end,
        reason=reason.strip(),
        asked_by=asked_by,
        asked_at=now,
    )
    _check_raise(quota, amount, request.until, now)
    request.clean_fields()
    if QuotaRequest.objects.filter(quota=quota, asked_by=asked_by, status=RequestStatus.PENDING).exists():
        raise AlreadyAsked
    request.save(force_insert=True)
    _record(AuditAction.CREATED, request, by, after=_shown(request))
    news.tell(request)
    return request


@transaction.atomic
def approve(
    request: QuotaRequest,
    *,
    decider: User,
    by: Who,
    amount: Decimal | None = None,
    until: datetime | None = None,
    note: str = "",
) -> QuotaRequest:
    """Raises the quota from now on, by what was asked for or by another amount, until then or another instant.

    Raises NotAllowed, OwnRequest, RequestDecided, and ValidationError.
    """
    now = _begin(request, decider)
    granted, end = amount if amount is not None else request.amount, until or request.until
    _check_raise(request.quota, granted, end, now)
    decided = _decide(
        request, RequestStatus.APPROVED, decider, now, note, by, granted_amount=granted, granted_until=end
    )
    # As it stands behind the lock: somebody may have changed its limit since the request was read.
    changes.follow(decided.quota, now)
    news.limits_changed(request.organization_id)
    return decided


@transaction.atomic
def refuse(request: QuotaRequest, *, decider: User, by: Who, note: str) -> QuotaRequest:
    """Refuses a request, with a word why. Raises NotAllowed, OwnRequest, RequestDecided, and ValidationError."""
    now = _begin(request, decider)
    if not note.strip():
        raise ValidationError({"note": "Say why: whoever asked reads it."})
    return _decide(request, RequestStatus.REFUSED, decider, now, note, by)


@transaction.atomic
def withdraw(request: QuotaRequest, *, person: User, by: Who) -> QuotaRequest:
    """Takes back one's own request. Raises NotAllowed, and RequestDecided."""
    if request.asked_by_id != person.pk:
        raise NotAllowed("A request is withdrawn by whoever made it. Refuse it instead.")
    return _end(request, RequestStatus.WITHDRAWN, by)


@transaction.atomic
def end_raise(request: QuotaRequest, *, person: User, by: Who) -> QuotaRequest:
    """Ends an approved raise now, where it still runs. Raises NotAllowed."""
    if not rights.may_manage(person, request.quota):
        raise NotAllowed
    books.lock([request.organization_id])
    now = database_now()
    running = QuotaRequest.objects.filter(pk=request.pk, status=RequestStatus.APPROVED, granted_until__gt=now)
    before = _shown(request)
    if running.update(granted_until=now):
        request.refresh_from_db()
        changes.follow(request.quota, now)
        _record(AuditAction.UPDATED, request, by, before=before, after=_shown(request))
    return request


def expire_due() -> int:
    """Ends requests that nobody decided in time, and takes raises that are over off the budgets; how many it were.

    The limits themselves ask the clock: a raise that is over allows nothing, whether or not this has run.
    """
    now = database_now()
    overdue = QuotaRequest.objects.filter(status=RequestStatus.PENDING, until__lte=now).select_related(*WITH_QUOTA)
    ended = 0
    for request in overdue:
        try:
            _end(request, RequestStatus.EXPIRED, SERVICE)
            ended += 1
        except RequestDecided:
            continue  # in the meantime
    # Long enough for a beat that was late; after that the next call writes the limit anyway.
    recently = now - timedelta(minutes=5)
    over = QuotaRequest.objects.filter(
        status=RequestStatus.APPROVED, granted_until__lte=now, granted_until__gt=recently
    )
    for quota in Quota.objects.filter(pk__in=over.values("quota")).order_by("organization_id"):
        ended += _take_off(quota)
    return ended


@transaction.atomic
def _take_off(quota: Quota) -> bool:
    books.lock([quota.organization_id])
    now = database_now()
    quota.refresh_from_db()
    if not changes.binds_at(quota, now):
        return False
    changes.follow(quota, now)
    return True


def _begin(request: QuotaRequest, decider: User) -> datetime:
    """Takes the lock, once the decider is known to be allowed; returns the present instant."""
    if not rights.may_manage(decider, request.quota):
        raise NotAllowed
    if not rights.may_decide(decider, request):
        raise OwnRequest
    books.lock([request.organization_id])
    return database_now()


def _decide(
    request: QuotaRequest,
    status: RequestStatus,
    decider: User,
    now: datetime,
    note: str,
    by: Who,
    **granted: Any,
) -> QuotaRequest:
    """Writes a decision, if the request is still pending."""
    before = _shown(request)
    fields = {"status": status, "decided_by": decider, "decided_at": now, "note": note.strip()[:1000], **granted}
    if not QuotaRequest.objects.filter(pk=request.pk, status=RequestStatus.PENDING, until__gt=now).update(**fields):
        raise RequestDecided
    return _written(request, AuditAction.DECIDED, before, by, reason=note)


@transaction.atomic
def _end(request: QuotaRequest, status: RequestStatus, by: Who) -> QuotaRequest:
    before = _shown(request)
    if not QuotaRequest.objects.filter(pk=request.pk, status=RequestStatus.PENDING).update(status=status):
        raise RequestDecided
    return _written(request, AuditAction.UPDATED, before, by)


def _written(
    request: QuotaRequest, action: AuditAction, before: dict[str, Any], by: Who, reason: str = ""
) -> QuotaRequest:
    request = QuotaRequest.objects.select_related(*WITH_QUOTA, "organization", "asked_by", "decided_by").get(
        pk=request.pk
    )
    _record(action, request, by, before=before, after=_shown(request), reason=reason)
    news.tell(request)
    return request


def _check_raise(quota: Quota, amount: Decimal, until: datetime, now: datetime) -> None:
    """Raises ValidationError for an amount or an end that no raise can have."""
    if amount <= 0:
        raise ValidationError({"amount": "A raise is more than 0."})
    if quota.measure not in IN_DOLLARS and amount % 1:
        raise ValidationError({"amount": f"A number of {quota.get_measure_display()} is whole."})
    if quota.limit + raised_at(now, quota=quota.pk).get(quota.pk, Decimal(0)) + amount >= ABOVE_ALL:
        raise ValidationError({"amount": "With it the limit would have more than twelve digits before the point."})
    if not now < until <= now + LONGEST:
        raise ValidationError({"until": f"A raise ends after now and within {LONGEST.days} days."})


def _shown(request: QuotaRequest) -> dict[str, Any]:
    """What the audit trail keeps of a request."""
    measure, granted = request.quota.measure, request.granted_amount
    return {
        "quota": str(request.quota_id),
        "status": str(request.status),
        "amount": plain(measure, request.amount),
        "until": f"{request.until:%Y-%m-%dT%H:%M:%SZ}",
        "reason": request.reason,
        "granted_amount": None if granted is None else plain(measure, granted),
        "granted_until": f"{request.granted_until:%Y-%m-%dT%H:%M:%SZ}" if request.granted_until else None,
        "note": request.note,
    }


def _record(action: AuditAction, request: QuotaRequest, by: Who, **more: Any) -> None:
    audit.record(
        *(action, SUBJECT, request.pk), by=by, organization_id=request.organization_id, name=str(request), **more
    )
