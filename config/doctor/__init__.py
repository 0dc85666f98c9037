"""`manage.py doctor`: what is wrong with a deployment, and how to mend it.

It looks and changes nothing. Each check yields findings; one that cannot be made, because what it asks does not answer,
is a finding too.
"""

from collections.abc import Callable, Iterator

import psycopg
import redis
from django.db import DatabaseError

from config.doctor import deployment, postgresql, provider, valkey, work
from config.doctor.findings import Finding, Level, fail

__all__ = ["CHECKS", "Finding", "Level", "examine"]

Check = Callable[[], Iterator[Finding]]
# In the order in which a person would look.
CHECKS: dict[str, Check] = {
    "settings": deployment.settings_found,
    "machine": deployment.machine,
    "postgresql": postgresql.server,
    "books": postgresql.guards,
    "tenants": postgresql.tenants,
    "redis": valkey.server,
    "celery": work.messages,
    "processes": work.processes,
    "learning": work.learning,
    "provider": provider.access,
    "catalogue": provider.catalogue,
    "people": work.people,
}


def examine(checks: dict[str, Check] = CHECKS) -> list[tuple[str, Finding]]:
    """Every finding with the name of its check."""
    return [(name, finding) for name, check in checks.items() for finding in _of(check)]


def _of(check: Check) -> Iterator[Finding]:
    try:
        yield from check()
    except (DatabaseError, psycopg.Error):
        yield fail("PostgreSQL does not answer, so this was not looked at", "see DATABASE_URL and PostgreSQL's log")
    except (redis.RedisError, OSError) as error:
        yield fail(f"this was not looked at: {type(error).__name__}", "see REDIS_URL and Redis's log")
