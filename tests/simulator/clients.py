"""How the tests call the simulator: the official client over a real socket."""

from typing import Any

from openai import OpenAI

from config.simulator.running import RunningSimulator

KEY = "sk-test-0123456789abcd"


def connect(simulator: RunningSimulator, **options: Any) -> OpenAI:
    """The official client, without its own retries: what the simulator says is what the test sees."""
    return OpenAI(**{"base_url": simulator.base_url, "api_key": KEY, "max_retries": 0, **options})


def ask(client: OpenAI, model: str = "o1-mini", prompt: str = "hello", **options: Any) -> Any:
    """One call with one user message."""
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}], **options)


def billed_calls(simulator: RunningSimulator) -> int:
    return int(simulator.bill()["calls"])
