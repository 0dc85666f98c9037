"""The request for the provider, as a caller wants it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """What goes to the provider: `parameters` holds every parameter besides model and messages, as sent."""

    model: str
    messages: list[dict[str, Any]]
    parameters: dict[str, Any]

    @property
    def cap(self) -> int | None:
        """The most completion tokens that the caller wants, reasoning included; None where no cap was sent."""
        cap: int | None = self.parameters.get("max_completion_tokens")
        return self.parameters.get("max_tokens") if cap is None else cap
