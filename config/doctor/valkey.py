"""Redis or Valkey: the broker and the rate limiter."""

import re
import time
from collections.abc import Iterator

from config.celery import NEVER_EVICTS
from config.doctor.findings import Finding, fail, ok, warn
from config.doctor.postgresql import skew
from jobs import limiter

OLDEST_VERSION = (6, 2)


def server() -> Iterator[Finding]:
    """Version, what it does when it is full, what it keeps over a restart, and its clock."""
    redis = limiter.connection()
    told = redis.info()
    version = str(told["redis_version"])
    name = f"Valkey {told['valkey_version']}" if "valkey_version" in told else f"Redis {version}"
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_VERSION:
        yield fail(f"{name} is too old", "upgrade to Redis 6.2 or Valkey")
    else:
        yield ok(f"{name} answers")
    policy = told.get("maxmemory_policy")
    if policy != NEVER_EVICTS:
        yield fail(
            f"maxmemory-policy is {policy}: when it is full it forgets messages and rate limits",
            f"set maxmemory-policy {NEVER_EVICTS}",
        )
    if told.get("maxmemory") and told["used_memory"] > 0.8 * told["maxmemory"]:
        yield warn("more than four fifths of its memory are used", "raise maxmemory")
    if not told.get("aof_enabled"):
        yield warn(
            "it writes no append-only file: after a restart the rate limits begin as used up, for a minute",
            "set appendonly yes; nothing is lost without it",
        )
    before = time.time()
    seconds, microseconds = redis.time()
    yield skew(name, seconds + microseconds / 1e6, before, time.time())
