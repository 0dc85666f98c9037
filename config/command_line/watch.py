"""`bursar watch`: waits until jobs have ended, and shows each as it does."""

from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor

from config.command_line.api import connect
from config.command_line.endings import Ending, Interrupted
from config.command_line.jobs import row
from config.command_line.terminal import Terminal, safe
from config.command_line.waiting import Tally, Waiting

PARALLEL = 8


def run(options: Namespace, terminal: Terminal) -> int:
    """0 where all of them have succeeded."""
    with connect(options, terminal) as api, ThreadPoolExecutor(PARALLEL) as pool:
        ids = options.ids or [job["id"] for job in api.rows("jobs", [("status", "queued,running")])]
        if not ids:
            terminal.say("No job is queued or running. `bursar list` shows those that have ended.")
            return Ending.OK
        pending = Waiting(api, dict.fromkeys(ids), pool)
        tally = Tally(terminal, len(pending))
        try:
            while pending:
                tally.show()
                ended = pending.look()
                for job in ended:
                    tally.note(job)
                    if terminal.is_json:
                        terminal.json(job)
                    else:
                        terminal.data("  ".join(map(safe, row(job))).rstrip())
                if pending and not ended:
                    pending.rest()
        except KeyboardInterrupt:
            raise Interrupted(f"Stopped watching; {len(pending)} jobs go on. Go on with: bursar watch") from None
    terminal.clear()
    tally.tell()
    return tally.ending
