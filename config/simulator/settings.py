"""What the simulator is started with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of one simulator. Times are seconds; limits are by model id."""

    host: str = "127.0.0.1"
    port: int = 8100
    tier: int = 5
    latency: tuple[float, float] = (0.2, 0.6)
    latency_per_token: float = 0.0
    usage_delay: float = 0.0  # after which a billed call shows in the usage and costs APIs
    seed: int = 1
    bill: Path = Path("var/simulator-bill.sqlite3")
    enforce_limits: bool = True
    requests_per_minute: Mapping[str, int] = field(default_factory=dict)
    tokens_per_minute: Mapping[str, int] = field(default_factory=dict)
    requests_per_day: Mapping[str, int] = field(default_factory=dict)
    organization: str = "org-simulator"
    project: str = "proj_simulator"
    webhook_url: str = ""  # told when a background response has ended; empty: nobody is
    webhook_secret: str = ""  # whsec_ and a key in base64
    verified: bool = False  # an organization that is not verified may not stream o3 and later models
