"""Settings, and the machine that the command runs on."""

import resource
import shutil
from collections.abc import Iterator

from django.conf import settings

from config.doctor.findings import Finding, fail, ok, warn
from jobs.execution.engine import OTHER_FILES

SECRET_KEY_CHARACTERS = 50
# As Django's own check of deployments has it.
SECRET_KEY_DIFFERENT = 5
LEAST_FREE_BYTES = 1_000_000_000
LEAST_FREE_SHARE = 0.1
LOCAL = {"localhost", "127.0.0.1", "[::1]"}


def settings_found() -> Iterator[Finding]:
    """What a deployment must set, and must not."""
    if settings.DEBUG:
        yield fail("debug mode is on, and shows settings to visitors", "unset BURSAR_DEBUG")
    if settings.CRASH_AT:
        yield fail(f"processes stop for good at '{settings.CRASH_AT}'", "unset BURSAR_CRASH_AT, which is for tests")
    key = settings.SECRET_KEY
    if len(key) < SECRET_KEY_CHARACTERS or len(set(key)) < SECRET_KEY_DIFFERENT:
        yield fail(
            "the secret key can be guessed: sessions can be forged, stored provider keys read",
            f"set BURSAR_SECRET_KEY to {SECRET_KEY_CHARACTERS} random characters or more (`openssl rand -hex 32`), the "
            "old one in BURSAR_SECRET_KEY_FALLBACKS until each provider credential is saved again",
        )
    hosts = set(settings.ALLOWED_HOSTS)
    if "*" in hosts:
        yield fail("it answers under any host name", "name your hosts in BURSAR_ALLOWED_HOSTS")
    elif hosts <= LOCAL:
        yield warn("it answers to this machine alone", "name your hosts in BURSAR_ALLOWED_HOSTS")
    elif not settings.HTTPS_ONLY:
        yield fail(
            "keys and passwords may travel in the clear",
            "put a proxy with TLS in front, set BURSAR_HTTPS_ONLY=true and BURSAR_BEHIND_PROXY=true",
        )
    elif not settings.CSRF_TRUSTED_ORIGINS:
        yield warn(
            "forms of the admin are refused behind a proxy", "name your https:// origin in BURSAR_TRUSTED_ORIGINS"
        )
    yield ok(f"answers to {', '.join(sorted(hosts)) or 'nobody'}")


def machine() -> Iterator[Finding]:
    """Room for files and open connections, as far as this process sees it."""
    place = settings.VAR_DIR if settings.VAR_DIR.exists() else settings.BASE_DIR
    disk = shutil.disk_usage(place)
    told = f"{disk.free / 1e9:.1f} GB of {disk.total / 1e9:.0f} are free in {place}"
    if disk.free < LEAST_FREE_BYTES or disk.free < LEAST_FREE_SHARE * disk.total:
        yield warn(told, "make room: a full disk stops PostgreSQL and the logs")
    else:
        yield ok(told)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.CALL_SLOTS + OTHER_FILES
    if most != resource.RLIM_INFINITY and most < wanted:
        yield warn(
            f"a process may open {most} files, and {settings.CALL_SLOTS} calls at once need {wanted}",
            "raise the limit (`ulimit -Hn`, LimitNOFILE of systemd, ulimits of compose) or lower BURSAR_CALL_SLOTS",
        )
    else:
        yield ok(f"files for {settings.CALL_SLOTS} calls at once may be opened")
