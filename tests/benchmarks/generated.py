"""Synthetic usage at scale, made by the server itself: reservations, ledger entries, usage records and their rollups.

Twenty organizations of very different sizes, two hundred projects, a thousand keys, eight models, a year that ends now
and so touches thirteen months. The largest organization has 45 projects, 225 keys and nearly half of the calls; its
largest project has 7 % of all. Constraints and indexes are those of production. The seals are not real, so these books
cannot be verified, only read and added to.
"""

from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.hashers import make_password
from django.db import connection, transaction
from uuid_utils.compat import uuid7

from accounts.models import ApiKey, Membership, Organization, Payment, Project, Role, Team, User
from billing import books, rollups
from billing.budgets import limits_of, open_accounts
from billing.clock import database_now
from billing.limits import Owner
from billing.models import Book, Budget, LedgerEntry, Price, Reservation, UsageRecord

ORGANIZATIONS, PROJECTS, KEYS, MEMBERS, MODELS = 20, 200, 1000, 200, 8
SERVICE_TIERS = ("standard", "batch", "flex", "priority")
# Every call by its number: who made it, when, of what, and what it used. What looks random is a hash of the number, so
# that the same call comes out wherever it is asked for.
_CALLS = """
CREATE UNLOGGED TABLE generated_call AS
SELECT n, uuidv7(at - clock_timestamp()) AS id, at, date_trunc('month', at, 'UTC') AS month, k.*, price.*,
    (50 + 4000 * r4)::bigint AS input, ((50 + 4000 * r4) * r5 * 0.5)::bigint AS cached,
    (100 + 6000 * r6)::bigint AS output, ((100 + 6000 * r6) * r5)::bigint AS reasoning, r5 > 0.98 AS is_empty
FROM (
    SELECT n, %(start)s + (n::float8 / (%(records)s + 1)) * (%(end)s - %(start)s) AS at,
        {random}, 1 AS one
    FROM generate_series(1, %(records)s) AS n
) AS drawn
JOIN generated_key AS k ON k.key_number = floor(%(keys)s * r1 * r1)
JOIN generated_price AS price
    ON price.price_number = floor(%(models)s * r2 * r2) * 4 + (r3 > 0.8)::int + (r3 > 0.92)::int + (r3 > 0.98)::int
ORDER BY n
"""
_RANDOM = "((hashint8extended(n, {0}) & 2147483647) / 2147483648.0)::float8 AS r{0}"
_PARTS = {
    "input_usd": "(input - cached) * per_input / 1000000",
    "cached_input_usd": "cached * per_cached / 1000000",
    "output_usd": "(output - reasoning) * per_output / 1000000",
    "reasoning_usd": "reasoning * per_output / 1000000",
}
_TOTAL = " + ".join(_PARTS.values())
_BOUND = "(input * per_input + 40000 * per_output) / 1000000"
_OWNER = {
    **{name: name for name in ("organization_id", "project_id", "team_id", "member_id")},
    **{name: name for name in ("api_key_id", "model", "service_tier", "price_id")},
}
# Columns of each table, and what stands in them.
_RESERVATION = {
    **_OWNER,
    "id": "id",
    "reference": "id",
    "status": "'settled'",
    "is_in_doubt": "false",
    "amount_usd": _BOUND,
    "input_tokens": "input",
    "output_tokens": "40000",
    "settled_usd": _TOTAL,
    "window_start": "month",
    "reserved_at": "at",
    "resolved_at": "at + interval '20 s'",
}
_RECORD = {
    **_OWNER,
    **_PARTS,
    "id": "id",
    "reservation_id": "id",
    "snapshot": "model",
    "input_tokens": "input",
    "cached_input_tokens": "cached",
    "output_tokens": "output",
    "reasoning_tokens": "reasoning",
    "input_usd_per_million": "per_input",
    "cached_input_usd_per_million": "per_cached",
    "output_usd_per_million": "per_output",
    "total_usd": _TOTAL,
    "is_empty": "is_empty",
    "is_overrun": "false",
    "window_start": "month",
    "dispatched_at": "at",
    "booked_at": "at",
    "recorded_at": "at + interval '20 s'",
}
_ENTRY = {
    **{name: name for name in ("organization_id", "project_id", "team_id")},
    "reservation_id": "id",
    "kind": "kind",
    "sequence": "2 * n + (kind = 'settle')::int",
    "seal": "repeat('0', 64)",
    "held_change_usd": f"CASE kind WHEN 'reserve' THEN {_BOUND} ELSE -({_BOUND}) END",
    "spent_change_usd": f"CASE kind WHEN 'reserve' THEN 0 ELSE {_TOTAL} END",
    "window_start": "month",
    "recorded_at": "at + CASE kind WHEN 'reserve' THEN interval '0' ELSE interval '20 s' END",
    "reason": "''",
}


def generate(records: int) -> list[Organization]:
    """Fills an empty database with that many usage records and all that belongs to them.

    Returns the organizations, the largest first.
    """
    organizations = _owners()
    _prices()
    now = database_now()
    with connection.cursor() as cursor:
        cursor.execute(
            _CALLS.format(random=", ".join(_RANDOM.format(number) for number in range(1, 7))),
            {
                "start": now.replace(year=now.year - 1),
                "end": now,
                "records": records,
                "keys": KEYS,
                "models": MODELS,
            },
        )
        _fill(Reservation, _RESERVATION, "generated_call")
        _fill(UsageRecord, _RECORD, "generated_call")
        _fill(LedgerEntry, _ENTRY, "generated_call, unnest(ARRAY['reserve', 'settle']) AS kind")
        cursor.execute("DROP TABLE generated_call, generated_key, generated_price")
        Book.objects.bulk_create(Book(organization=o, head_sequence=2 * records + 1) for o in organizations)
        for organization in organizations:
            rollups.rebuild(organization)
        with transaction.atomic():
            books.lock(organization.pk for organization in organizations)
            for project in Project.objects.select_related("organization"):
                open_accounts(limits_of(Owner(project), now))
        for model in (Reservation, UsageRecord, LedgerEntry, Book, Budget, *rollups.ROLLUPS):
            cursor.execute(f"{'ANALYZE' if connection.in_atomic_block else 'VACUUM ANALYZE'} {model._meta.db_table}")
    return organizations


def _owners() -> list[Organization]:
    """Organizations, teams, projects, members and keys, and a table that has each key's owners by its number."""
    organizations = [Organization(name=f"Organization {n}", slug=f"o{n}") for n in range(ORGANIZATIONS)]
    Organization.objects.bulk_create(organizations)
    long_ago = database_now().replace(year=2024, day=1)
    Payment.objects.bulk_create(Payment(organization=o, amount_usd=1_000_000, paid_at=long_ago) for o in organizations)
    teams = Team.objects.bulk_create(Team(organization=o, name=f"Team {n}") for o in organizations for n in range(3))
    members = User.objects.bulk_create(
        User(email=f"member{n}@generated.example", password=make_password(None)) for n in range(MEMBERS)
    )
    projects = []
    for n in range(PROJECTS):
        # The first organization has sqrt(1 / 20) of the projects.
        place = ORGANIZATIONS * n * n // (PROJECTS * PROJECTS)
        projects.append(
            Project(organization=organizations[place], team=teams[3 * place + n % 3], name=f"Project {n}", slug=f"p{n}")
        )
    Project.objects.bulk_create(projects)
    Membership.objects.bulk_create(
        Membership(organization=project.organization, user=members[n], role=Role.MEMBER)
        for n, project in enumerate(projects)
    )
    keys = ApiKey.objects.bulk_create(
        ApiKey(
            project=projects[n * PROJECTS // KEYS],
            name=f"key {n}",
            prefix=f"bk_{n}",
            secret_hash=uuid7().hex,
            created_by=members[n * PROJECTS // KEYS],
        )
        for n in range(KEYS)
    )
    _table(
        "generated_key",
        "key_number int, api_key_id uuid, member_id bigint, project_id uuid, team_id uuid, organization_id uuid",
        (
            (n, key.pk, key.created_by_id, key.project_id, key.project.team_id, key.project.organization_id)
            for n, key in enumerate(keys)
        ),
    )
    return organizations


def _prices() -> None:
    """A price of each of the models in each service tier, and a table of them by number."""
    wanted = [
        Price(
            model=f"model-{number}",
            service_tier=service_tier,
            input_usd_per_million=number + 1,
            cached_input_usd_per_million=number + 1,
            output_usd_per_million=4 * (number + 1),
            effective_from="2024-01-01",
            source="generated",
        )
        for number in range(MODELS)
        for service_tier in SERVICE_TIERS
    ]
    _table(
        "generated_price",
        "price_number int, price_id bigint, model text, service_tier text, per_input numeric, per_cached numeric, "
        "per_output numeric",
        (
            (
                n,
                p.pk,
                p.model,
                p.service_tier,
                p.input_usd_per_million,
                p.input_usd_per_million,
                p.output_usd_per_million,
            )
            for n, p in enumerate(Price.objects.bulk_create(wanted))
        ),
    )


def _table(name: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE UNLOGGED TABLE {name} ({columns})")
        marks = ", ".join(["%s"] * len(columns.split(",")))
        cursor.executemany(f"INSERT INTO {name} VALUES ({marks})", list(rows))
        cursor.execute(f"ANALYZE {name}")


def _fill(model: type, columns: dict[str, str], source: str) -> None:
    table = model._meta.db_table
    with _fast_loading(table), connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {source}")


@contextmanager
def _fast_loading(table: str):
    """Foreign keys are not looked up, and the indexes that are no constraint are made when all rows are there."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = %s "
            "AND indexname NOT IN (SELECT conname FROM pg_constraint)",
            [table],
        )
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
        cursor.execute("SET session_replication_role = replica")
        yield
        cursor.execute("SET session_replication_role = DEFAULT")
        for _, definition in indexes:
            cursor.execute(definition)
