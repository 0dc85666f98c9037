"""Thousands of calls that wait at once."""

import asyncio
import time

import aiohttp

from config.simulator.running import RunningSimulator
from tests.simulator.clients import KEY

CALLS = 1000


def test_a_thousand_calls_wait_at_once_and_all_are_answered_and_billed() -> None:
    with RunningSimulator(latency=(2.0, 2.0), enforce_limits=False) as simulator:
        started = time.monotonic()
        ids = asyncio.run(call_all(simulator.base_url))
        seconds = time.monotonic() - started
        counters, bill = simulator.counters(), simulator.bill()

    assert len(set(ids)) == CALLS
    assert bill["calls"] == counters["answered"] == CALLS
    assert counters["max_in_flight"] > CALLS * 0.8
    assert seconds < 12


async def call_all(base_url: str) -> list[str]:
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        return await asyncio.gather(*(call(session, base_url, number) for number in range(CALLS)))


async def call(session: aiohttp.ClientSession, base_url: str, number: int) -> str:
    body = {"model": "o1-mini", "messages": [{"role": "user", "content": f"question {number}"}]}
    async with session.post(f"{base_url}/chat/completions", json=body) as answer:
        assert answer.status == 200
        return str((await answer.json())["id"])
