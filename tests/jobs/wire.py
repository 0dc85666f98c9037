"""A server that says what a test wants it to say, byte by byte: what no real HTTP server can be talked into."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Wire:
    """Where the server listens, the requests that it has read, and how many connections were made."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def header(self, name: str) -> str | None:
        """A header of the latest request."""
        for line in self.requests[-1].partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
            found, _, value = line.partition(b":")
            if found.decode().lower() == name.lower():
                return value.decode().strip()
        return None


@contextmanager
def serving(handle: Callable[[socket.socket, Wire], None]) -> Iterator[Wire]:
    """A server that gives each connection to `handle` in a thread of its own, and is gone when the block ends."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = Wire(listener.getsockname()[1])
        listener.settimeout(0.05)
        threads: list[threading.Thread] = []

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.settimeout(5)
                handle(connection, wire)

        def accept() -> None:
            while not stop.is_set():
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    wire.connections += 1
                    threads.append(threading.Thread(target=one, args=[connection]))
                    threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield wire
        finally:
            stop.set()
            acceptor.join()
            for thread in threads:
                thread.join()


def read_request(connection: socket.socket, wire: Wire) -> bool:
    """Reads one whole request; False when the client has closed the connection instead."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return False
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")),
        0,
    )
    while len(body) < length:
        body += connection.recv(65536)
    wire.requests.append(head + b"\r\n\r\n" + body)
    return True


def response(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole response; Content-Length is right unless a header says otherwise."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    if not any(header.lower().startswith("content-length") for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def answering(data: bytes) -> Iterator[Wire]:
    """A server that answers each request with these bytes and closes the connection."""

    def handle(connection: socket.socket, wire: Wire) -> None:
        if read_request(connection, wire):
            connection.sendall(data)

    with serving(handle) as wire:
        yield wire
