"""No URL that somebody may type reaches anything inside: hostile ones by the hundred, listeners that must see nobody.

Every URL goes the whole way, checks and sending both; by the sending alone, as if there were no other check; and from
the database by the sender, as if it had got in there somehow. Each attempt to connect to anywhere is seen, too: most
addresses inside have no listener here.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from ipaddress import ip_address, ip_network

import pytest
from aiohttp.abc import AbstractResolver
from yarl import URL

from billing.clock import database_now
from billing.models import WebhookDelivery, WebhookEndpoint, WebhookTry
from billing.webhooks import outbox, sender, wire
from billing.webhooks.addresses import may_connect
from billing.webhooks.signing import new_secret
from billing.webhooks.urls import UrlRefused, checked
from tests.billing.hostile_urls import HOSTILE, NAMES, WHOLE
from tests.billing.receiver import receiving

PUBLIC, PRIVATE = "93.184.216.34", "127.0.0.1"


class Resolver(AbstractResolver):
    """Says of a name what the test says; each time the next thing."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET):
        addresses = self.answers[min(self.asked, len(self.answers) - 1)] if self.answers else NAMES.get(host)
        self.asked += 1
        addresses = addresses or self._spelt(host) or [PRIVATE]  # as if every other name led here
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for address in addresses
        ]

    @staticmethod
    def _spelt(host: str) -> list[str]:
        """The address, if the machine takes the host for a spelling of one; it knows many."""
        try:
            found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return []
        return [str(each[4][0]) for each in found]

    async def close(self) -> None:
        pass


class Canaries:
    """Listeners on one port of all addresses of the machine, who count who comes; and every attempt to connect.

    Attempts end at the machine's own addresses: no test goes out.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried: list[str] = []
        self._seen: list[object] = []
        self._own = 0
        self._connect = socket.socket.connect
        self._doors: dict[str, socket.socket] = {}
        self.port = self._listen(socket.AF_INET, "0.0.0.0", 0, "127.0.0.1")
        if socket.has_ipv6:
            with suppress(OSError):
                self._listen(socket.AF_INET6, "::", self.port, "::1")
        monkeypatch.setattr(socket.socket, "connect", lambda own, address: self._note(own, address))

    def _listen(self, family: int, address: str, port: int, own_address: str) -> int:
        listener = socket.socket(family)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(200)
        self._doors[own_address] = listener
        threading.Thread(target=self._watch, args=[listener], daemon=True).start()
        return listener.getsockname()[1]

    def _watch(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, who = listener.accept()
            except OSError:
                return
            self._seen.append(who)
            connection.close()

    def _note(self, own: socket.socket, address: tuple[str, int]) -> None:
        self.tried.append(address[0])
        found = ip_address(address[0])
        if not found.is_loopback and not found.is_unspecified:
            raise ConnectionRefusedError("out of bounds for a test")
        self._connect(own, address)

    def saw(self) -> tuple[int, list[str]]:
        """How many came, and where connections were tried to. Doors open in order, and we knock last at each."""
        for own_address in self._doors:
            with socket.socket(self._doors[own_address].family) as own:
                self._connect(own, (own_address, self.port))
                own.settimeout(5)
                own.recv(1)
            self._own += 1
        return len(self._seen) - self._own, self.tried

    def close(self) -> None:
        for listener in self._doors.values():
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@pytest.fixture
def canaries(monkeypatch) -> Iterator[Canaries]:
    watching = Canaries(monkeypatch)
    yield watching
    watching.close()


def post(url: str, resolver: AbstractResolver | None = None) -> wire.Answer:
    return asyncio.run(wire.post(url, b"{}", {"webhook-id": "msg_test"}, resolver or Resolver()))


def test_the_corpus_is_large_enough():
    assert len(set(HOSTILE)) == len(HOSTILE) >= 120


def all_hostile(canaries: Canaries) -> list[str]:
    return [hostile.replace("{port}", str(canaries.port)) for hostile in HOSTILE]


def test_no_hostile_url_reaches_anything(canaries, settings):
    """All ports are allowed here, those of the listeners too: the address alone decides."""
    settings.WEBHOOK_PORTS = [canaries.port, 443, 80, 22]
    answers = {url: post(url) for url in all_hostile(canaries)}
    assert {url: answer for url, answer in answers.items() if answer.status is not None or not answer.error} == {}
    assert canaries.saw() == (0, [])


def test_no_hostile_url_reaches_anything_even_if_nobody_looked_at_it_before(canaries, settings, monkeypatch):
    """The socket is the last to ask, and asks for itself."""
    settings.WEBHOOK_PORTS = [canaries.port, 443, 80, 22]
    monkeypatch.setattr(wire, "checked", URL)
    assert {url for url in all_hostile(canaries) if post(url).status is not None} == set()
    assert canaries.saw() == (0, [])


def test_no_hostile_url_reaches_anything_from_the_database(canaries, settings, monkeypatch, organization):
    """As if each had got there past every form: the sender sends to it, by the resolver that it takes itself."""
    settings.WEBHOOK_PORTS = [canaries.port, 443, 80, 22]
    monkeypatch.setattr("aiohttp.ThreadedResolver", Resolver)
    now, kept = database_now(), []
    for url in all_hostile(canaries):
        kept.append(WebhookEndpoint(organization=organization, url=url[:2000]))
        kept[-1].secret = new_secret()
    WebhookEndpoint.objects.bulk_create(kept)
    WebhookDelivery.objects.bulk_create(outbox.message(endpoint, "webhook.test", "{}", now) for endpoint in kept)
    sender.send()
    tries = WebhookTry.objects.all()
    assert {each.delivery.endpoint_id for each in tries.select_related("delivery")} == {each.pk for each in kept}
    assert {each.error for each in tries.filter(http_status=None)} == {"url_refused", "not_connected"}
    assert not tries.exclude(http_status=None).exists()
    assert canaries.saw() == (0, [])


def test_without_the_checks_the_hostile_urls_get_in(canaries, monkeypatch):
    """The tests above can fail: the listeners see who comes, and it is seen who is sent to the inside of a network."""
    monkeypatch.setattr(wire, "checked", URL)
    monkeypatch.setattr(wire, "may_connect", lambda *arguments: True)
    for url in all_hostile(canaries):
        post(url)
    came, tried = canaries.saw()
    assert came >= 50
    assert {"127.0.0.1", "0.0.0.0", "10.0.0.1", "169.254.169.254", "fd00:ec2::254", "64:ff9b::7f00:1"} <= set(tried)


@pytest.mark.parametrize("hostile", [url for url in WHOLE if "example.com" in url or url.startswith(("unix", "file"))])
def test_what_is_no_plain_https_url_at_a_known_port_is_refused_at_once(hostile):
    with pytest.raises(UrlRefused):
        checked(hostile.replace("{port}", "5555"))


@pytest.mark.parametrize(
    ("first", "then", "tried"), [("127.0.0.2", PRIVATE, ["127.0.0.2"]), (PRIVATE, "127.0.0.2", [])]
)
def test_a_name_that_changes_its_mind_is_asked_once_and_only_what_it_said_is_connected_to(
    canaries, settings, first, then, tried
):
    """Rebinding: allowed when it is checked, inside when it is connected to. There is one answer, and it is checked."""
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.2/32"]  # stands for all that is public: no test goes out
    resolver = Resolver([first], [then])
    assert post(f"https://rebinding.example.com:{canaries.port}/", resolver).status is None
    assert resolver.asked == 1
    assert canaries.saw() == (len(tried), tried)


def test_of_several_addresses_of_a_name_only_public_ones_are_connected_to(canaries, settings):
    settings.WEBHOOK_PORTS = [canaries.port]
    inside = ["10.0.0.1", PRIVATE, "::1", "169.254.169.254"]
    assert post(f"https://mixed.example.com:{canaries.port}/", Resolver([*inside, PUBLIC])).error == "not_connected"
    came, tried = canaries.saw()
    assert (came, set(tried)) == (0, {PUBLIC})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_the_inside_is_not_followed(canaries, settings, status):
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    with receiving() as receiver:
        receiver.status, receiver.headers = status, {"Location": f"http://127.0.0.1:{canaries.port}/"}
        answer = post(receiver.url)
    assert (answer.status, answer.is_success, len(receiver.got)) == (status, False, 1)
    assert canaries.saw() == (0, ["127.0.0.1"])


def test_no_proxy_of_the_environment_is_asked(canaries, settings, monkeypatch):
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canaries.port}")
    with receiving() as receiver:
        assert post(receiver.url).is_success
    assert canaries.saw() == (0, ["127.0.0.1"])


def test_what_the_deployment_allows_is_reached_and_its_neighbour_is_not(canaries, settings):
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    with receiving() as receiver:
        answer = post(receiver.url)
        assert (answer.status, answer.text, answer.error) == (200, "thanks", "")
    for neighbour in (f"http://127.0.0.2:{canaries.port}/", f"http://[::1]:{canaries.port}/"):
        assert post(neighbour).error == "url_refused"
    assert post(f"http://inside.example.com:{canaries.port}/", Resolver(["127.0.0.2"])).error == "not_connected"
    assert canaries.saw() == (0, ["127.0.0.1"])


def test_an_answer_without_end_is_read_to_a_point(settings):
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with receiving() as receiver:
        receiver.said = b"<b>\n" + b"x" * 2**20
        answer = post(receiver.url)
    assert (answer.status, len(answer.text), answer.text[:4]) == (200, wire.KEPT_CHARACTERS, "<b> ")


def test_who_does_not_answer_is_waited_for_to_a_point(settings, monkeypatch):
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    monkeypatch.setattr(wire, "TOTAL_SECONDS", 0.2)
    with receiving() as receiver, ExitStack() as stack:
        receiver.gate.clear()
        stack.callback(receiver.gate.set)
        assert post(receiver.url).error == "timeout"


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::1"]
)
def test_public_addresses_may_be_posted_to_by_https_at_known_ports_alone(address, settings):
    assert may_connect("https", address, 443)
    assert may_connect("https", address, 8443)
    assert not may_connect("http", address, 443)
    assert not may_connect("https", address, 80)
    settings.WEBHOOK_ALLOWED_NETWORKS = ["10.0.0.0/8"]
    assert not may_connect("http", address, 80)
    assert may_connect("http", "10.1.2.3", 80)


def test_nothing_that_python_knows_to_be_special_is_public():
    """Two lists, made independently: every address that is special by either is refused."""
    for first in range(256):
        for second in (0, 31, 64, 88, 100, 127, 168, 175, 254):
            address = ip_address(f"{first}.{second}.99.1")
            if not address.is_global or address.is_multicast or address.is_reserved:
                assert not may_connect("https", str(address), 443), address
    for network in ("::/8", "100::/8", "fc00::/7", "fe80::/10", "ff00::/8", "2001:db8::/32", "2002::/16"):
        assert not may_connect("https", str(ip_network(network)[1]), 443), network


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("https://Example.COM/Hooks?x=1#part", "https://example.com/Hooks?x=1"),
        ("https://bücher.example.com/", "https://xn--bcher-kva.example.com/"),
        ("https://example.com:8443/a", "https://example.com:8443/a"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
    ],
)
def test_a_url_is_kept_as_it_will_be_requested(typed, kept):
    assert str(checked(typed)) == kept
