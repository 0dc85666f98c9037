"""Another program on the same provider account, of which Bursar knows nothing.

    python -m tests.benchmarks.load.neighbour '{"base_url": ..., "key": ..., "model": "o1-mini", "cap": 1000,
                                               "per_minute": 200}'

Calls at an even pace, whatever comes back, until it gets SIGTERM; prints how often each status came.
"""

import asyncio
import json
import signal
import sys
from collections import Counter

import aiohttp


async def main(base_url: str, key: str, model: str, cap: int, per_minute: float) -> dict[str, int]:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    statuses: Counter[str] = Counter()
    under_way: set[asyncio.Task[None]] = set()
    body = {"model": model, "max_completion_tokens": cap, "messages": [{"role": "user", "content": "Good morning?"}]}

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers={"authorization": f"Bearer {key}"}
    ) as session:

        async def call() -> None:
            async with session.post(f"{base_url}/chat/completions", json=body) as answer:
                await answer.read()
                statuses[str(answer.status)] += 1

        loop = asyncio.get_running_loop()
        began, number = loop.time(), 0
        while not stop.is_set():
            task = asyncio.create_task(call())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
            try:
                await asyncio.wait_for(stop.wait(), max(0.0, began + number * 60 / per_minute - loop.time()))
            except TimeoutError:
                continue
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
    return statuses


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(**json.loads(sys.argv[1])))))
