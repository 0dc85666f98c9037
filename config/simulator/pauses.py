"""Work that takes its time, and may be stopped meanwhile."""

import asyncio


async def happens(event: asyncio.Event, seconds: float) -> bool:
    """Whether it happens within so many seconds; waits for them otherwise."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
