"""Posting a webhook to a stranger's URL, so that it reaches nobody who is not meant to be reached by strangers.

The name is looked up once, and the address that was found is checked where the socket for it is made: what is checked
is what is connected to. TLS and `Host` keep the name. No redirect is followed, no proxy asked, no cookie kept, little
of the answer read, and all of it has one deadline.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from time import monotonic
from typing import Any

import aiohttp
import httpx2
from aiohttp.abc import AbstractResolver

from billing.webhooks.addresses import may_connect
from billing.webhooks.urls import UrlRefused, checked

TOTAL_SECONDS, CONNECT_SECONDS = 15, 5
MOST_ANSWER_BYTES = 4096
KEPT_CHARACTERS = 200
USER_AGENT = "Bursar-Webhooks/1"


class AddressRefused(OSError):
    """The address that a name leads to is none that webhooks may be posted to."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a try. `error` is a word where nobody answered; then there is no status."""

    milliseconds: int
    status: int | None = None
    error: str = ""
    text: str = ""
    retry_after: str = ""

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


async def post(url: str, body: bytes, headers: Mapping[str, str], resolver: AbstractResolver | None = None) -> Answer:
    """Posts once. Whatever goes wrong is an answer, too: nothing of it says what the inside of our network is like."""
    began = monotonic()
    try:
        return await _post(url, body, headers, resolver or aiohttp.ThreadedResolver(), began)
    except (UrlRefused, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return Answer(_milliseconds(began), error=_word_for(error))
    finally:
        # What was just closed is told so in the loop's next round, which the end of the loop would cut off.
        await asyncio.sleep(0)


async def _post(url: str, body: bytes, headers: Mapping[str, str], resolver: AbstractResolver, began: Any) -> Answer:
    target = checked(url)

    def checked_socket(address: Any) -> socket.socket:
        family, kind, protocol, _, name = address
        if family not in {socket.AF_INET, socket.AF_INET6} or not may_connect(target.scheme, name[0], name[1]):
            raise AddressRefused
        return socket.socket(family=family, type=kind, proto=protocol)

    # One for each message: a connection that is kept would be one to an address that was checked some time ago.
    connector = aiohttp.TCPConnector(
        resolver=resolver, use_dns_cache=False, force_close=True, ssl=_trust(), socket_factory=checked_socket
    )
    timeout = aiohttp.ClientTimeout(total=TOTAL_SECONDS, connect=CONNECT_SECONDS)
    async with (
        aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT, "Content-Type": "application/json"},
        ) as session,
        session.post(target, data=body, headers=dict(headers), allow_redirects=False) as answer,
    ):
        return Answer(
            _milliseconds(began),
            status=answer.status,
            text=_legible(await _beginning(answer)),
            retry_after=answer.headers.get("Retry-After", ""),
        )


async def _beginning(answer: aiohttp.ClientResponse) -> bytes:
    """How the body begins. The status has decided: a body that does not come changes nothing."""
    try:
        return await answer.content.read(MOST_ANSWER_BYTES)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return b""


def _milliseconds(began: Any) -> int:
    return int((monotonic() - began) * 1000)


def _legible(said: bytes) -> str:
    """The beginning of an answer, for the log."""
    text = said.decode("utf-8", "replace")
    return "".join(sign if sign.isprintable() else " " for sign in text)[:KEPT_CHARACTERS]


def _word_for(error: Exception) -> str:
    """One word for a name that is not found, an address that is refused and one where nobody listens."""
    match error:
        case UrlRefused():
            return "url_refused"
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientSSLError():
            return "tls_failed"
        case aiohttp.ClientConnectorError() | AddressRefused():
            return "not_connected"
    return "no_answer"


@cache
def _trust() -> ssl.SSLContext:
    """The machine's trust store; reading it takes 50 ms."""
    return httpx2.create_ssl_context()
