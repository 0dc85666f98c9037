"""Fetches the provider's bill and has the books compared with it: every day, and whenever somebody asks."""

import logging
from uuid import UUID

from accounts.provider_accounts import account_named, every_account
from billing.clock import database_now
from billing.models import Origin, ReconciliationRun
from billing.reconciliation import runs
from jobs.credentials import admin_access_of
from jobs.provider_bill import BillUnreadable, fetch

logger = logging.getLogger(__name__)

NO_KEY = (
    "There is no admin key for this account: set OPENAI_ADMIN_KEY or, for an organization with a key of its own, add "
    "one under Accounts > Admin credentials."
)


def carry_out(run_id: UUID) -> ReconciliationRun:
    """Carries out a run that was asked for, once; what breaks it off is kept as its failure."""
    run = runs.begin(run_id)
    if run is None:
        return ReconciliationRun.objects.get(pk=run_id)
    try:
        access = admin_access_of(account_named(run.organization))
        if access is None:
            runs.break_off(run, NO_KEY)
            return run
        runs.record(run, fetch(access, *runs.days_of_bill(run)))
    except BillUnreadable as error:
        logger.error("reconciliation %s: %s", run.pk, error)
        runs.break_off(run, str(error))
    except Exception as error:
        # The next account is looked at all the same.
        logger.exception("reconciliation %s broke off", run.pk)
        runs.break_off(run, f"{type(error).__name__}: {error}")
    return run


def reconcile_every_account() -> list[ReconciliationRun]:
    """The daily look at every account that has an admin key, one after the other."""
    done = []
    for account in every_account():
        if admin_access_of(account) is not None:
            days = runs.due_days(account, database_now())
            done.append(carry_out(runs.ask(account, Origin.NIGHTLY, *days).pk))
    return done
