"""Learning is tested on the real path, and on traffic that is written in bulk."""

from tests.flows.conftest import _fresh_limiter, path, simulator, simulator_process, slots

__all__ = ["_fresh_limiter", "path", "simulator", "simulator_process", "slots"]
