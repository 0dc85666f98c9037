"""Asks a Bursar over HTTP, and asks again what can be asked again without doing it twice."""

import json
import random
import ssl
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from config.command_line.endings import Refused, Unreachable
from config.command_line.profiles import Server, server_of
from config.command_line.proxies import proxy_of
from config.command_line.terminal import Terminal

PAGE = 100
TIMEOUT_SECONDS = 30.0
# Bursar did nothing and says so, or cannot say; what is repeatable is repeated.
AGAIN = frozenset({429, 502, 503, 504})
_SLOWEST_SECONDS = 8.0


# What is sent: nothing, a JSON value, or bytes that are made anew each time that they are sent, with their length.
Sent = Callable[[], Iterable[bytes]]


class Answer:
    """Status, headers and body of an answer that was read whole."""

    def __init__(self, response: HTTPResponse, body: bytes):
        self.status, self.headers, self.body = response.status, response.headers, body

    def json(self) -> Any:
        # Amounts are texts in the API, so that no float is in the way of one.
        return json.loads(self.body) if self.body else None


class Api:
    """The API of one Bursar, for one key. Threads may share it: each has a connection of its own.

    Paths are below /api/v1, or begin with a slash.
    """

    def __init__(self, server: Server, terminal: Terminal, *, patience: float = 30.0):
        parts = urlsplit(server.url)
        self.address, self._root = server.url, parts.path
        self._host, self._is_secure = parts.netloc, parts.scheme == "https"
        self._proxy = proxy_of(server.url)
        self._key, self._terminal, self.patience = server.key, terminal, patience
        self._own = threading.local()

    def __enter__(self) -> "Api":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disconnect()

    # --- What is asked ------------------------------------------------------------------------------------------------
    def get(self, path: str, query: Any = ()) -> Any:
        """The JSON of an answer. Raises Refused, and Unreachable."""
        return self._ask("GET", _with(path, query)).json()

    def post(
        self,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        repeatable: bool = False,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The same for a POST; with an idempotency key, or if it may be, it is repeated until it is answered."""
        heads = {**(headers or {}), **({"Idempotency-Key": key} if key else {})}
        return self._ask("POST", path, body, heads, repeatable=repeatable or key is not None).json()

    def upload(self, path: str, body: Sent, *, length: int, content_type: str) -> Any:
        """The JSON of the answer to bytes that are read while they are sent; a repetition may leave a second copy."""
        headers = {"Content-Type": content_type, "Content-Length": str(length)}
        return self._ask("POST", path, body, headers).json()

    def patch(self, path: str, body: Any) -> Any:
        return self._ask("PATCH", path, body).json()

    def delete(self, path: str) -> Any:
        return self._ask("DELETE", path).json()

    def rows(self, path: str, query: Any = (), *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The rows of a list, page by page, as many as are asked for; all without a limit."""
        pairs = [*_pairs(query), ("limit", str(min(limit or PAGE, PAGE)))]
        while True:
            page = self.get(path, pairs)
            for row in page["data"]:
                if limit is not None:
                    limit -= 1
                yield row
                if limit == 0:
                    return
            if not page["has_more"]:
                return
            # The address of the next page is Bursar's own idea of its name; what counts of it is the query.
            pairs = parse_qsl(urlsplit(page["next"]).query, keep_blank_values=True)

    def download(self, path: str, query: Any = ()) -> HTTPResponse:
        """An answer whose body is still to be read. Raises Refused, and Unreachable."""
        response = self._repeat("GET", _with(path, query), None, {}, repeatable=True, is_streamed=True)
        assert isinstance(response, HTTPResponse)
        return response

    # --- How ----------------------------------------------------------------------------------------------------------
    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        repeatable: bool = True,
    ) -> Answer:
        answer = self._repeat(method, path, body, headers or {}, repeatable=repeatable, is_streamed=False)
        assert isinstance(answer, Answer)
        return answer

    def _repeat(
        self, method: str, path: str, body: Any, headers: dict[str, str], *, repeatable: bool, is_streamed: bool
    ) -> Answer | HTTPResponse:
        """The answer, asked for until there is one or patience is at its end."""
        give_up_at = time.monotonic() + self.patience
        for tries in range(1_000_000):
            wait = min(0.25 * 2 ** min(tries, 6), _SLOWEST_SECONDS) * random.uniform(0.75, 1.25)  # noqa: S311
            problem: Refused | Unreachable
            try:
                answer = self._exchange(method, path, body, headers, is_streamed=is_streamed)
            except (OSError, HTTPException) as error:
                self._disconnect()
                by = f" by the proxy {self._proxy.host}:{self._proxy.port}" if self._proxy else ""
                problem = Unreachable(f"{self.address} does not answer{by}: {_said(error)}")
                problem.__cause__ = error
                is_again = repeatable and not isinstance(error, ssl.SSLCertVerificationError)
            else:
                if answer.status < 300:
                    return answer
                problem, told, in_flight = self._problem(answer)
                # 429 says that nothing was done, so that anything may be sent again.
                is_again = answer.status == 429 or in_flight or (repeatable and answer.status in AGAIN)
                wait = told if told is not None else wait
            if not is_again or time.monotonic() + wait > give_up_at:
                raise problem
            self._terminal.progress(f"{problem} Again in {wait:.0f} s.")
            time.sleep(wait)
        raise AssertionError("patience ends before")

    def _exchange(
        self, method: str, path: str, body: Any, headers: dict[str, str], *, is_streamed: bool
    ) -> Answer | HTTPResponse:
        connection: HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._connect()
        heads = {"Authorization": f"Bearer {self._key}", "Accept": "*/*", "User-Agent": "bursar-cli", **headers}
        sent: Any = body() if callable(body) else None if body is None else json.dumps(body).encode()
        if isinstance(sent, bytes):
            heads["Content-Type"] = "application/json"
        target = f"{self._root}{path}" if path.startswith("/") else f"{self._root}/api/v1/{path}"
        if self._proxy and not self._is_secure:
            target = f"http://{self._host}{target}"
            heads.update(self._proxy.headers)
        connection.request(method, target, body=sent, headers=heads)
        response = connection.getresponse()
        if is_streamed and response.status < 300:
            return response
        answer = Answer(response, response.read())
        if response.will_close:
            self._disconnect()
        return answer

    def _connect(self) -> HTTPConnection:
        """A connection that is opened with the first request: to Bursar, or to the proxy on the way to it."""
        kind = HTTPSConnection if self._is_secure else HTTPConnection
        if self._proxy is None:
            return kind(self._host, timeout=TIMEOUT_SECONDS)
        connection = kind(self._proxy.host, self._proxy.port, timeout=TIMEOUT_SECONDS)
        if self._is_secure:
            # What the proxy is told is the host alone: the request goes through it encrypted.
            connection.set_tunnel(self._host, headers=self._proxy.headers)
        return connection

    def _problem(self, answer: Answer | HTTPResponse) -> tuple[Refused | Unreachable, float | None, bool]:
        """What an error answer is, how long it says to wait, and whether the same request is under way."""
        assert isinstance(answer, Answer)
        if answer.status < 400:
            there = answer.headers.get("Location", "another address")
            return Unreachable(f"{self.address} points to {there}. Set BURSAR_URL to where Bursar is."), None, False
        try:
            problem = answer.json()
        except ValueError:
            problem = None
        if isinstance(problem, dict) and isinstance(problem.get("error"), dict):
            # Below /v1 in the provider's envelope.
            problem = {**problem["error"], "detail": problem["error"].get("message")}
        if not isinstance(problem, dict):
            problem = {"detail": f"{self.address} answers with HTTP {answer.status}, and not as Bursar does."}
        told = answer.headers.get("Retry-After", "")
        refused = Refused(answer.status, problem)
        return refused, float(told) if told.isdecimal() else None, refused.code == "idempotency_key_in_flight"

    def _disconnect(self) -> None:
        connection: HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is not None:
            connection.close()
            self._own.connection = None


def connect(options: Namespace, terminal: Terminal) -> Api:
    """The API that the command line, the environment or a login names. Raises CommandError."""
    return Api(server_of(options.url, options.profile), terminal, patience=options.patience)


def segment(text: str) -> str:
    """An id as a part of a path, whatever somebody has typed."""
    return quote(text, safe="")


def _with(path: str, query: Any) -> str:
    pairs = _pairs(query)
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _pairs(query: Any) -> list[tuple[str, str]]:
    """The parameters that have a value."""
    pairs = query.items() if isinstance(query, dict) else query
    return [(name, str(value)) for name, value in pairs if value is not None and value != ""]


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer for {TIMEOUT_SECONDS:.0f} seconds."
    return f"{getattr(error, 'strerror', None) or error or type(error).__name__}."
