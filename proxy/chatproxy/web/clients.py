"""Noticing that a client has left while nothing is being sent to it."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping
from typing import Any


def watch(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """A function that tells whether the client's connection has been closed.

    gunicorn and werkzeug hand the socket over in the WSGI environment; without one the answer is always no. A client
    that only closes its sending half counts as gone: HTTP clients that wait for an answer do not do that.
    """
    connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    if not isinstance(connection, socket.socket):
        return lambda: False

    def gone() -> bool:
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        try:
            if not poll.poll(0):
                return False
            return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    return gone
