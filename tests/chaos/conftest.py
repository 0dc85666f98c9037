"""What the chaos shares with the load benchmarks: servers of its own, and lines that pytest does not keep."""

from tests.benchmarks.load.conftest import durable_servers, tell

__all__ = ["durable_servers", "tell"]
