"""Verifications that are kept: asked for by the admin's page, the command or the night, carried out once each."""

import logging
from datetime import UTC
from uuid import UUID

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError as BrokerError

from accounts import audit
from accounts.audit import Who
from accounts.models import AuditAction, Organization, User
from billing.alerts import raise_broken
from billing.clock import database_now
from billing.models import Book, Origin, Verification
from billing.verification import CHECKS, differences, repair, standing_still

logger = logging.getLogger(__name__)

TASK = "billing.tasks.verify_book"


def ask(
    organization: Organization,
    origin: Origin,
    *,
    actor: User | None = None,
    is_repair: bool = False,
    by: Who | None = None,
) -> Verification:
    """A verification that waits to be carried out; one that repairs changes rows, and is in the audit trail."""
    with transaction.atomic():
        asked = Verification.objects.create(
            organization=organization, origin=origin, actor=actor, is_repair=is_repair, asked_at=database_now()
        )
        if is_repair:
            after = {"repairs": "rollups and budgets", "verification": asked.pk}
            audit.record(
                AuditAction.UPDATED,
                "book",
                organization.pk,
                by=by or Who(user=actor),
                organization_id=organization.pk,
                name=f"book of {organization}",
                after=after,
            )
    return asked


def hand_over(verification: Verification) -> bool:
    """Has a worker carry it out; whether the broker took the message. Where it did not, the row says so."""
    try:
        current_app.send_task(TASK, [str(verification.pk)])
    except (BrokerError, OSError) as error:
        logger.warning("verification %s was not handed over: %s", verification.pk, error)
        verification.failure = "The message broker did not take it; ask again."
        verification.save(update_fields=["failure"])
        return False
    return True


def carry_out(verification_id: UUID) -> Verification:
    """Verifies the book, or repairs what is derived and verifies then; keeps the outcome, and logs it where it is bad.

    One that was begun before is left alone: a message may come twice. What breaks it off is kept as its failure.
    """
    begun = Verification.objects.filter(pk=verification_id, began_at=None, failure="").update(began_at=database_now())
    verification = Verification.objects.select_related("organization", "actor").get(pk=verification_id)
    if not begun:
        return verification
    try:
        _look(verification)
        verification.verified_at = database_now()
    except Exception as error:
        # Rows that nothing of ours could write may break the proof itself; the next book is looked at all the same.
        verification.failure = f"{type(error).__name__}: {error}"[:300]
        logger.exception("verification %s of %s broke off", verification.pk, verification.organization.slug)
    with transaction.atomic():
        verification.save()
        _alert(verification)
    for difference in verification.differences:
        logger.error(
            "the books of %s differ: %s, %s", verification.organization.slug, difference["check"], difference["place"]
        )
    return verification


def _alert(verification: Verification) -> None:
    """Tells the organization's people of what was found: once a day, however often it is looked for."""
    if found := verification.differences:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise_broken(
            organization_id=verification.organization_id,
            what="book",
            day=database_now().astimezone(UTC).date(),
            found=f"{found[0]['check']}, {found[0]['place']}{more}",
        )


def verify_every_book() -> list[Verification]:
    """Each organization's, one after the other, as every night."""
    organizations = Organization.objects.filter(book__isnull=False).order_by("slug")
    return [carry_out(ask(organization, Origin.NIGHTLY).pk) for organization in organizations]


def _look(verification: Verification) -> None:
    """Fills in the outcome, and the head of the book that was looked at."""
    organization = verification.organization
    with transaction.atomic() if verification.is_repair else standing_still(organization):
        found = (repair if verification.is_repair else differences)(organization)
        book = Book.objects.get(organization=organization)
    verification.differences = [
        {"check": each.check, "place": each.place, "detail": each.detail, "is_derived": each.is_derived}
        for each in found
    ]
    verification.checks = list(CHECKS)
    verification.lines, verification.head_seal = book.head_sequence, book.head_seal
