"""What a socket tells of the client at its other end, after the last of an answer was sent."""

import socket
import time
from collections.abc import Iterator

import pytest
from django.test import RequestFactory

from jobs.front_door.connections import ClientConnection

ANSWER = b"data: [DONE]\n\n"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end of a connection over TCP, and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
    with server, client:
        yield server, client


def connection_at(server: socket.socket) -> ClientConnection:
    request = RequestFactory().get("/")
    request.META["gunicorn.socket"] = server
    return ClientConnection(request)


def settled(connection: ClientConnection) -> ClientConnection:
    """After the other side's last word has arrived."""
    give_up_at = time.monotonic() + 5
    while not connection.is_gone and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return connection


def test_who_waits_is_there_and_has_what_was_sent(ends):
    server, _ = ends
    server.sendall(ANSWER)
    connection = connection_at(server)
    assert (connection.is_gone, connection.has_taken_all) == (False, True)


def test_who_closes_after_reading_the_end_has_all(ends):
    server, client = ends
    server.sendall(ANSWER)
    assert client.recv(100) == ANSWER
    client.close()
    connection = settled(connection_at(server))
    assert (connection.is_gone, connection.has_taken_all) == (True, True)


def test_who_closes_with_the_end_unread_has_it_not(ends):
    server, client = ends
    server.sendall(ANSWER)
    assert client.recv(1) == ANSWER[:1]
    client.close()
    connection = settled(connection_at(server))
    assert (connection.is_gone, connection.has_taken_all) == (True, False)


def test_who_closed_before_the_end_was_sent_has_it_not(ends):
    server, client = ends
    client.close()
    connection = settled(connection_at(server))
    server.sendall(ANSWER)
    assert (connection.is_gone, connection.has_taken_all) == (True, False)


def test_who_stopped_reading_before_it_all_arrived_has_it_not(ends):
    server, client = ends
    server.settimeout(0.2)
    with pytest.raises(TimeoutError):
        server.sendall(b"x" * 50_000_000)
    client.shutdown(socket.SHUT_WR)
    connection = settled(connection_at(server))
    assert (connection.is_gone, connection.has_taken_all) == (True, False)
