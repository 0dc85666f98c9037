"""Which URLs an endpoint may have: told to people at once. What counts is the address at each connection (`wire`)."""

import re
from ipaddress import ip_address

from django.conf import settings
from yarl import URL

from accounts.errors import DomainError
from billing.webhooks.addresses import allowed_networks, may_connect

MOST_CHARACTERS = 2000
# The last label of a host as browsers read it: all digits or 0x... makes the whole an IPv4 address.
_NUMBER = re.compile(r"(?:[0-9]+|0[xX][0-9a-fA-F]*)\Z")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\]")
_LOCAL = ("localhost", "localdomain", "internal", "local", "home.arpa", "onion")


class UrlRefused(DomainError):
    """Webhooks cannot be sent to this URL."""

    code = "webhook_url_refused"


def checked(text: str) -> URL:
    """The URL, normalised as it will be requested (IDNA, lower case). Raises UrlRefused with what is wrong with it.

    No name is looked up.
    """
    if len(text) > MOST_CHARACTERS:
        raise _refused(f"A URL has at most {MOST_CHARACTERS} characters.")
    if _UNPRINTABLE.search(text):
        raise _refused("A URL has no blanks, control characters or backslashes.")
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError as error:
        raise _refused("This is no URL.") from error
    if url.scheme not in {"https", "http"} or not host or port is None:
        raise _refused("Give a full URL that begins with https://.")
    if url.scheme == "http" and not settings.WEBHOOK_ALLOWED_NETWORKS:
        raise _refused("Webhooks are sent by https only.")
    if url.raw_user is not None or url.raw_password is not None or "@" in url.raw_authority:
        raise _refused("A URL with a user name or password in it is not taken: messages are signed instead.")
    _check_host(url.scheme, host.rstrip("."), port)
    return url.with_fragment(None)


def _check_host(scheme: str, host: str, port: int) -> None:
    try:
        address = ip_address(host)
    except ValueError:
        _check_name(host, port)
        return
    if not may_connect(scheme, str(address), port):
        raise _refused("This address is not one that webhooks may be sent to.")


def _check_name(name: str, port: int) -> None:
    last = name.rpartition(".")[2]
    if not last or _NUMBER.match(last) or "%" in name or ":" in name:
        raise _refused("Write an IP address in its usual form, or a name.")
    if allowed_networks():
        return  # a name may lead there, at any port: the address decides
    if port not in settings.WEBHOOK_PORTS:
        ports = ", ".join(str(port) for port in settings.WEBHOOK_PORTS)
        raise _refused(f"Webhooks are sent to the ports {ports} only.")
    if "." not in name or any(name.lower() == end or name.lower().endswith(f".{end}") for end in _LOCAL):
        raise _refused("This name does not belong to the public internet.")


def _refused(message: str) -> UrlRefused:
    return UrlRefused(message, param="url")
