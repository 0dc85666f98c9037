"""The connection of a client that waits: whether it is still there, without reading what it may send next."""

import fcntl
import socket
import struct
import sys
import termios
from typing import Any

from django.http import HttpRequest

# A client whose machine vanished says nothing for ever: TCP asks it after half a minute, and gives it up after another.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
# The first byte of TCP_INFO: the other side has ended its half in order. One that leaves something unread resets.
_CLOSE_WAIT = 8


class ClientConnection:
    """The socket that a request came by. Where the web server does not give it, it always counts as there."""

    def __init__(self, request: HttpRequest):
        given = request.META.get("gunicorn.socket")
        # Over TLS nothing can be read without taking it.
        self._socket: Any = given if type(given) is socket.socket else None
        if self._socket is not None:
            self._ask_when_silent()

    @property
    def is_gone(self) -> bool:
        """Whether the other side has closed it."""
        if self._socket is None:
            return False
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False  # it says nothing, as one does who waits
        except OSError:
            return True

    @property
    def has_taken_all(self) -> bool:
        """Whether nothing says that what was sent was not read.

        Some clients close as soon as they have read the end; they are not gone, but through.
        """
        return not self.is_gone or self._has_closed_in_order()

    def _has_closed_in_order(self) -> bool:
        if self._socket is None or sys.platform != "linux":
            return False
        try:
            state = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            (on_the_way,) = struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))
        except OSError:
            return False  # of another kind than TCP
        return bool(state == _CLOSE_WAIT and on_the_way == 0)

    def _ask_when_silent(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE.items():
                if hasattr(socket, name):  # not everywhere
                    self._socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        except OSError:
            pass  # of another kind than TCP, or closed just now
