"""Settings of gunicorn under the supervisor: its worker processes die with it, also when it is killed."""

import signal
from typing import Any

from config.embedded.processes import die_with_parent


def post_fork(server: Any, worker: Any) -> None:
    """Called by gunicorn in each new worker process."""
    die_with_parent(signal.SIGKILL, server.pid)
