"""`bursar export`: what was spent, as a file that is written while it is sent."""

from argparse import Namespace

from config.command_line.api import connect
from config.command_line.endings import Ending, Interrupted, UsageError
from config.command_line.saving import check_free, pass_on, save
from config.command_line.spend import query_of
from config.command_line.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> int:
    """The file. One that breaks off is removed, and is no success."""
    if options.output is None and options.format.endswith("parquet") and terminal.is_terminal:
        raise UsageError("Parquet is not for a terminal: name a file by -o.")
    if options.output:
        check_free(options.output, may_replace=options.force)
    with connect(options, terminal) as api:
        response = api.download("spend/export", {**query_of(options), "format": options.format})
        try:
            size = save(response, options.output, terminal) if options.output else pass_on(response, terminal)
        except KeyboardInterrupt:
            raise Interrupted("Stopped; there is no file, because half of one would not be the spend.") from None
    terminal.clear()
    terminal.say(f"{size:,} bytes" + (f" in {options.output}" if options.output else ""))
    return Ending.OK
