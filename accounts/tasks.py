"""Celery's entrances to `accounts`, on the control queue."""

from celery import shared_task

from accounts import audit_verification


@shared_task
def verify_audit() -> None:
    audit_verification.verify()
