"""Which proxy of the environment a request goes by: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, as usual.

An address of this machine is never asked for by a proxy, which would mean another machine by it.
"""

import os
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from config.command_line.endings import UsageError

_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


class Proxy(NamedTuple):
    """Where a proxy listens, and what it wants to be told of who asks."""

    host: str
    port: int
    headers: dict[str, str]


def proxy_of(url: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy for an address; None where it is asked directly. Raises UsageError for one that cannot be used."""
    parts = urlsplit(url)
    named = _value(environment, f"{parts.scheme}_proxy") or _value(environment, "all_proxy")
    if not named or _is_excepted(parts.hostname or "", parts.port, _value(environment, "no_proxy")):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or not proxy.hostname:
        # Without what may be a password in it.
        raise UsageError(f"A proxy of the scheme '{proxy.scheme}' is not known; one is http://proxy.example:3128.")
    headers = {}
    if proxy.username is not None:
        said = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {b64encode(said.encode()).decode()}"
    return Proxy(proxy.hostname, proxy.port or 80, headers)


def _value(environment: Mapping[str, str], name: str) -> str:
    # As curl does it: small letters stand above capitals.
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    """Whether a host, or a domain that it belongs to, is in the list of NO_PROXY."""
    if host in _LOCAL:
        return True
    for entry in exceptions.lower().replace(",", " ").split():
        name, _, wanted_port = entry.rpartition(":") if entry.count(":") == 1 else (entry, "", "")
        name = name.strip("[]").lstrip("*").lstrip(".")
        if entry == "*" or (wanted_port in {"", str(port)} and name and (host == name or host.endswith(f".{name}"))):
            return True
    return False
