"""The official client and nothing else, with many calls in flight: what a worker is compared with.

    python -m tests.benchmarks.load.bare_client '{"base_url": ..., "kind": "asyncio", "model": ..., "calls": 2000}'

`kind`: asyncio (one client on aiohttp) or threads (one each, and a client for every 50 calls, which is what its pool
takes well). Prints milliseconds of processor time and KiB of memory a call, the slowest call, and how many failed.
"""

import asyncio
import json
import os
import sys
import threading
import time
from typing import Any

import openai

from tests.benchmarks.load import processor
from tests.benchmarks.load.watching import most_memory

KEY, DEADLINE_SECONDS = "sk-simulator-bare", 300.0
CALLS_PER_POOL = 50
STACK_BYTES = 256 * 1024


def options(model: str, number: int) -> dict[str, Any]:
    prompt = f"What is the capital of Mexico? Question {number:08}"
    return {"model": model, "messages": [{"role": "user", "content": prompt}], "max_completion_tokens": 4000}


class Took:
    """Seconds of each call that was answered."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def note(self, began: float) -> None:
        self.seconds.append(time.monotonic() - began)


async def on_asyncio(base_url: str, model: str, calls: int, took: Took) -> None:
    # Without this it opens a thousand connections, and the other calls wait for one of them.
    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(max_connections=calls, max_keepalive_connections=calls)
    http = openai.DefaultAioHttpClient(limits=limits)
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key=KEY, max_retries=0, timeout=DEADLINE_SECONDS, http_client=http
    ) as client:

        async def call(number: int) -> None:
            began = time.monotonic()
            await client.chat.completions.create(**options(model, number))
            took.note(began)

        await asyncio.gather(*(call(number) for number in range(calls)), return_exceptions=True)


def on_threads(base_url: str, model: str, calls: int, took: Took) -> None:
    clients = [
        openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0, timeout=DEADLINE_SECONDS)
        for _ in range(-(-calls // CALLS_PER_POOL))
    ]

    def call(number: int) -> None:
        began = time.monotonic()
        clients[number // CALLS_PER_POOL].chat.completions.create(**options(model, number))
        took.note(began)

    threading.stack_size(STACK_BYTES)
    threads = [threading.Thread(target=call, args=(number,)) for number in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(base_url: str, kind: str, model: str, calls: int) -> dict[str, float]:
    took = Took()
    # The first call imports and builds what every process has once.
    openai.OpenAI(base_url=base_url, api_key=KEY, timeout=DEADLINE_SECONDS).models.list()
    before = processor.resident_kib(os.getpid())
    with most_memory(os.getpid()) as most:
        used = time.process_time()
        if kind == "asyncio":
            asyncio.run(on_asyncio(base_url, model, calls, took))
        else:
            on_threads(base_url, model, calls, took)
        used = time.process_time() - used
    return {
        "milliseconds": used / calls * 1000,
        "kib": (most[0] - before) / calls,
        "slowest_seconds": max(took.seconds, default=0.0),
        "failed": calls - len(took.seconds),
    }


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
