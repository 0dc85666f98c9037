"""Which rows of each table an organization sees and writes behind the wall: derived from the foreign keys.

A table whose rows belong to an organization needs no word here. The others say what the API may do with them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from django.apps import apps
from django.db.models import ForeignKey, Model

from accounts.wall import SETTING

APPS = ("accounts", "billing", "jobs")
TENANT = "accounts.Organization"
# The organization that the session works for. An unset or emptied setting is nobody's, and shows no row. As a query of
# its own it is read once, and not for each row.
OWN = f"(SELECT NULLIF(current_setting('{SETTING}', true), '')::uuid)"
OF_ORGANIZATION = f"organization_id = {OWN}"
READ = ("SELECT",)
READ_AND_WRITE = ("SELECT", "INSERT", "UPDATE", "DELETE")
# Answers whether a job is there and another organization's; made by `building`.
FOREIGN_JOB = "bursar_job_is_of_others"


@dataclass(frozen=True, slots=True)
class Rule:
    """What the role may do with a table. `sees`: the condition of rows that it sees; None: all, and no policy.

    `writes`: the condition of rows as they are written, where it is another. `locks`: the one column that it may write,
    which is enough to lock a row.
    """

    table: str
    rights: Sequence[str]
    sees: str | None = None
    writes: str | None = None
    locks: str = ""


# Nobody's in particular: reference data, and how many calls the workers take.
SHARED = frozenset(
    {
        "accounts.UsageTier",
        "accounts.RateLimit",
        "billing.Price",
        "jobs.LanguageModel",
        "jobs.ModelSnapshot",
        "jobs.Worker",
    }
)
# Never looked at by a request.
CLOSED = frozenset({"jobs.Watch", "jobs.Unlearnt", "accounts.User_groups", "accounts.User_user_permissions"})
# The customer pays, and is given a tier or a closed month; a program of theirs only reads of it.
READ_ONLY = frozenset(
    {
        "accounts.Payment",
        "accounts.TierOverride",
        "billing.ClosedMonth",
        "billing.LedgerEntry",
        "billing.Reservation",
        "billing.UsageRecord",
        "billing.SpendRollup",
        "billing.DayRollup",
        "billing.DayModelRollup",
        "billing.DayKeyRollup",
        "billing.ProjectRollup",
        "billing.ModelRollup",
        "billing.KeyRollup",
        "billing.HourRollup",
        "jobs.Breaker",
        "jobs.Calibration",
        "jobs.Distribution",
        "jobs.Doubt",
        "jobs.Share",
    }
)
# Whom an organization's rows name: its members, whoever made a key of it or acted in it, and the service's staff.
_PEOPLE = " OR ".join(
    (
        "is_staff OR is_superuser",
        f"EXISTS (SELECT FROM accounts_membership place WHERE place.user_id = accounts_user.id AND {OF_ORGANIZATION})",
        "EXISTS (SELECT FROM accounts_apikey made WHERE made.created_by_id = accounts_user.id)",
        f"EXISTS (SELECT FROM accounts_auditentry entry WHERE entry.actor_id = accounts_user.id AND {OF_ORGANIZATION})",
    )
)
# An account of the provider may serve several organizations; its runs and days name none, and hold no figure.
_OWN_OR_SHARED = f"{OF_ORGANIZATION} OR organization_id IS NULL"
# Line by line they show the organization's own alone.
_DECIDED = f"{OF_ORGANIZATION} OR EXISTS (SELECT FROM billing_reconciliationline line WHERE line.id = line_id)"


def rules() -> Iterator[Rule]:
    """The rule of every table of ours; those that the role may do nothing with have none."""
    special = {rule.table: rule for rule in _special()}
    for model in tables():
        label, table = model._meta.label, model._meta.db_table
        if table in special:
            yield special[table]
        elif label in SHARED:
            yield Rule(table, READ)
        elif label not in CLOSED:
            condition = belongs(model)
            if condition is None:
                raise LookupError(f"{label} belongs to no organization, and config/wall/rules.py has no word of it")
            yield Rule(table, READ if label in READ_ONLY else READ_AND_WRITE, condition)


def tables() -> list[type[Model]]:
    return [model for label in APPS for model in apps.get_app_config(label).get_models(include_auto_created=True)]


@cache
def belongs(model: type[Model]) -> str | None:
    """SQL: whether a row is the organization's, by the foreign keys that are never empty; None where none leads there.

    A row without an organization of its own is, if all is that it belongs to.
    """
    if model._meta.label == TENANT:
        return f"id = {OWN}"
    keys = [field for field in model._meta.concrete_fields if isinstance(field, ForeignKey) and not field.null]
    for key in keys:
        if key.related_model._meta.label == TENANT:
            return f"{key.column} = {OWN}"
    parents = [(key, key.related_model) for key in keys if key.related_model is not model]
    return " AND ".join(_has(model, key, parent) for key, parent in parents if belongs(parent)) or None


def _has(model: type[Model], key: ForeignKey, parent: type[Model]) -> str:
    # The parent's own policy shows the organization's rows alone.
    table, own = parent._meta.db_table, model._meta.db_table
    return f"EXISTS (SELECT FROM {table} parent WHERE parent.{key.target_field.column} = {own}.{key.column})"


def _special() -> Iterator[Rule]:
    yield Rule("accounts_user", READ, _PEOPLE)
    yield Rule("accounts_auditentry", READ_AND_WRITE, OF_ORGANIZATION)
    yield Rule("accounts_audittrail", READ_AND_WRITE, f"id = {OWN}")
    # Whoever changes a limit locks the book; only workers write in it.
    yield Rule("billing_book", ("SELECT", "INSERT"), OF_ORGANIZATION, locks="organization_id")
    yield Rule("billing_reconciliationrun", READ_AND_WRITE, _OWN_OR_SHARED)
    yield Rule("billing_reconciledday", READ, _OWN_OR_SHARED)
    yield Rule("billing_reconciliationline", READ, OF_ORGANIZATION)
    yield Rule("billing_reconciliationdecision", READ, _DECIDED)
    # A job and its content are written by one statement, which does not see its own job yet. The foreign key says
    # afterwards that the job is there.
    content = "EXISTS (SELECT FROM jobs_job parent WHERE parent.id = jobs_jobcontent.job_id)"
    yield Rule("jobs_jobcontent", READ_AND_WRITE, content, f"NOT {FOREIGN_JOB}(job_id, {OWN})")
