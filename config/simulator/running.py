"""A simulator in a thread of this process, on a real socket: for tests, benchmarks and notebooks."""

import asyncio
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from config.simulator.remote import Remote
from config.simulator.server import serve
from config.simulator.settings import Settings

START_SECONDS = 10.0


class RunningSimulator(Remote):
    """`with RunningSimulator() as simulator: OpenAI(base_url=simulator.base_url, api_key="sk-test")`.

    Takes the fields of `Settings` as options. Differs from the command in its defaults: a free port, no latency, and a
    bill that goes with it unless `bill` names a file. Leaves no thread and no socket behind.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._folder = None if "bill" in options else tempfile.TemporaryDirectory(prefix="simulator-")
        bill = Path(self._folder.name) / "bill.sqlite3" if self._folder else Path(options["bill"])
        self.settings = replace(Settings(port=0, latency=(0.0, 0.0)), **{**options, "bill": bill})
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.port = 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Returns when connections are accepted. Raises RuntimeError when the server cannot start."""
        self._thread.start()
        if not self._ready.wait(START_SECONDS) or self._failure is not None:
            self.stop()
            raise RuntimeError("the simulator did not start") from self._failure
        return self

    def stop(self) -> None:
        """Ends the server; calls that still wait are cut off and not billed."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.ident is not None:
            self._thread.join()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def url(self) -> str:
        return f"http://{self.settings.host}:{self.port}"

    # --- The thread -------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # told to the thread that started it
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await serve(self.settings, started=self._started, stop=self._stop)

    def _started(self, port: int) -> None:
        self.port = port
        self._ready.set()
