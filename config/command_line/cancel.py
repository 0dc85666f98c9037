"""`bursar cancel`: withdraws jobs that are queued, and asks the provider to stop those in its background."""

from argparse import Namespace

from config.command_line.api import connect, segment
from config.command_line.endings import Ending, Refused
from config.command_line.terminal import Terminal, safe


def run(options: Namespace, terminal: Terminal) -> int:
    """0 where each of them is cancelled or about to be; otherwise the ending of the first that is not."""
    endings = []
    with connect(options, terminal) as api:
        for job_id in options.ids:
            try:
                job = api.post(f"jobs/{segment(job_id)}/cancel", repeatable=True)
            except Refused as refused:
                if refused.ending not in {Ending.FAILED, Ending.NOT_FOUND}:
                    raise
                endings.append(refused.ending)
                terminal.warn(f"bursar: {safe(job_id)}: {safe(refused)}")
                continue
            if terminal.is_json:
                terminal.json(job)
            else:
                about = "" if job["status"] == "cancelled" else "  (the provider is asked to stop it)"
                terminal.data(f"{job['id']}  {terminal.status(job['status'])}{about}")
    return endings[0] if endings else Ending.OK
