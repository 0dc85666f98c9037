"""What the load benchmarks share: servers of their own, and a line that pytest does not keep."""

from collections.abc import Callable, Iterator

import pytest

from tests.benchmarks.load import servers


@pytest.fixture(scope="session")
def durable_servers() -> Iterator[servers.Servers]:
    with servers.running() as started:
        yield started


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)

    return line
