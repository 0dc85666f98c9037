"""A receiver of webhooks over a real socket, which does as it is told and remembers what it got."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event


@dataclass
class Received:
    headers: dict[str, str]
    body: bytes
    at: float
    status: int = 0  # what was answered

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """Answers with `status` and `headers`; while `gate` is closed it answers nobody."""

    port: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    said: bytes = b"thanks"
    closes_after: int | None = None  # so many were received: the gate closes by itself
    got: list[Received] = field(default_factory=list)
    gate: Event = field(default_factory=Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            got = Received(headers, body, time.time())
            receiver.got.append(got)
            if receiver.closes_after is not None and len(receiver.got) >= receiver.closes_after:
                receiver.gate.clear()
            receiver.gate.wait(30)
            got.status = receiver.status
            self.send_response(got.status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            if got.status != 204:  # which has no body: one would be read as the next answer
                self.send_header("Content-Length", str(len(receiver.said)))
            self.end_headers()
            if got.status != 204:
                self.wfile.write(receiver.said)

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *arguments: object) -> None:
            pass  # a client that was killed

    with Server(("127.0.0.1", port), Handler) as server:
        receiver.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield receiver
        receiver.gate.set()
        server.shutdown()
