"""By which proxy a request goes, and that what goes through one to a Bursar with TLS is not seen by it."""

import base64
import datetime
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.command_line.endings import UsageError
from config.command_line.proxies import proxy_of

# A name that nobody resolves: only the proxy knows where it is.
HOST = "bursar.test"
KEY = "bk_live_of-the-test"
WHO = "Basic " + base64.b64encode(b"user:a word").decode()


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("https://b.example", {}, None),
        ("https://b.example", {"HTTPS_PROXY": "http://p:3128"}, ("p", 3128)),
        ("https://b.example", {"HTTPS_PROXY": "http://p:3128", "https_proxy": "http://q:1"}, ("q", 1)),
        ("https://b.example", {"HTTP_PROXY": "http://p:3128"}, None),
        ("https://b.example", {"ALL_PROXY": "p:8080"}, ("p", 8080)),
        ("https://b.example", {"HTTPS_PROXY": "http://p"}, ("p", 80)),
        ("http://b.example", {"HTTP_PROXY": "http://p:3128"}, ("p", 3128)),
        ("http://127.0.0.1:8000", {"HTTP_PROXY": "http://p:3128"}, None),
        ("http://localhost:8000", {"ALL_PROXY": "http://p:3128"}, None),
        ("https://b.example", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "a.example, b.example"}, None),
        ("https://x.b.example", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": ".b.example"}, None),
        ("https://x.b.example", {"HTTPS_PROXY": "http://p:3128", "no_proxy": "b.example"}, None),
        ("https://x.b.example", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "*.B.example"}, None),
        ("https://xb.example", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "b.example"}, ("p", 3128)),
        ("https://b.example:8443", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "b.example:8443"}, None),
        ("https://b.example:8444", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "b.example:8443"}, ("p", 3128)),
        ("https://b.example", {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "*"}, None),
        ("https://b.example", {"HTTPS_PROXY": "  "}, None),
    ],
)
def test_the_environment_names_the_proxy_of_an_address(url, environment, expected):
    found = proxy_of(url, environment)
    assert (found and (found.host, found.port)) == expected


@pytest.mark.parametrize("proxy", ["socks5://user:secret@p:1080", "https://user:secret@p", "http://"])
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(proxy):
    with pytest.raises(UsageError, match="proxy") as refused:
        proxy_of("https://b.example", {"HTTPS_PROXY": proxy})
    assert "secret" not in str(refused.value)


# --- Over sockets -----------------------------------------------------------------------------------------------------
class Listening:
    """A server of the test, and the requests and headers that it was sent."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> "Listening":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""

    def answer(self) -> None:
        body = json.dumps({"data": [], "has_more": False}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def asked() -> list[tuple[str, dict[str, str]]]:
    """What Bursar was asked, or what a proxy was told."""
    return []


@pytest.fixture
def bursar(tmp_path: Path) -> Iterator[tuple[Listening, list[dict[str, str]]]]:
    """A Bursar with TLS that has nothing; its certificate is in `bursar.pem`."""
    got: list[dict[str, str]] = []

    class Handler(Quiet):
        def do_GET(self) -> None:
            got.append({"path": self.path, **dict(self.headers)})
            self.answer()

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "bursar.pem").write_bytes(pem)
    (tmp_path / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "bursar.pem", tmp_path / "key.pem")
    listening = Listening(Handler)
    listening.server.socket = context.wrap_socket(listening.server.socket, server_side=True)
    with listening:
        yield listening, got


@pytest.fixture
def tunnel(bursar, asked) -> Iterator[Listening]:
    """A proxy that connects to Bursar whatever it is asked for, and refuses who does not say who it is."""

    class Handler(Quiet):
        def do_CONNECT(self) -> None:
            asked.append((self.path, dict(self.headers)))
            if self.headers.get("Proxy-Authorization") != WHO:
                self.send_error(407)
                return
            self.send_response(200)
            self.end_headers()
            with socket.create_connection(("127.0.0.1", bursar[0].port)) as there:
                back = threading.Thread(target=pipe, args=(there, self.connection), daemon=True)
                back.start()
                pipe(self.connection, there)
                back.join()
            self.close_connection = True

    with Listening(Handler) as listening:
        yield listening


def pipe(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the other side has had enough


def test_a_bursar_with_tls_is_asked_through_a_tunnel_that_sees_neither_key_nor_path(nowhere, bursar, tunnel, asked):
    nowhere.environment = {"BURSAR_URL": f"https://{HOST}", "BURSAR_API_KEY": KEY}
    nowhere.environment["SSL_CERT_FILE"] = str(nowhere.folder / "bursar.pem")
    done = nowhere("list", HTTPS_PROXY=f"http://user:a%20word@127.0.0.1:{tunnel.port}")
    assert done.code == 0, done.err
    ((target, headers),) = asked
    assert target == f"{HOST}:443"
    assert KEY not in str(headers)
    (request,) = bursar[1]
    assert request["Authorization"] == f"Bearer {KEY}"
    assert "Proxy-Authorization" not in request
    assert request["path"].startswith("/api/v1/jobs")


def test_a_proxy_that_refuses_is_told_of_by_its_name(nowhere, tunnel):
    nowhere.environment = {"BURSAR_URL": f"https://{HOST}", "BURSAR_API_KEY": KEY}
    done = nowhere("list", "--patience", "0", HTTPS_PROXY=f"http://user:wrong@127.0.0.1:{tunnel.port}")
    assert done.code == 6
    assert f"by the proxy 127.0.0.1:{tunnel.port}" in done.err
    assert "407" in done.err
    assert "wrong" not in done.err


def test_a_bursar_without_tls_is_asked_by_its_whole_address(nowhere, asked):
    class Handler(Quiet):
        def do_GET(self) -> None:
            asked.append((self.path, dict(self.headers)))
            self.answer()

    nowhere.environment = {"BURSAR_URL": f"http://{HOST}:8000/below", "BURSAR_API_KEY": KEY}
    with Listening(Handler) as proxy:
        by = {"HTTP_PROXY": f"http://user:a%20word@127.0.0.1:{proxy.port}"}
        assert nowhere("list", **by).code == 0
        assert nowhere("list", "--patience", "0", NO_PROXY=HOST, **by).code == 6  # nobody resolves it
    ((target, headers),) = asked
    assert target.startswith(f"http://{HOST}:8000/below/api/v1/jobs?")
    assert headers["Host"] == f"{HOST}:8000"
    assert headers["Proxy-Authorization"] == WHO
