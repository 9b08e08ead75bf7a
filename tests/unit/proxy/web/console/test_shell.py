"""What the console does when a browser stalls, or the database is away."""

from __future__ import annotations

import io
import socket
from typing import Any

import pytest

from tests.unit.proxy.fakes import World
from tests.unit.proxy.web.console.browsing import ORIGIN, Browser, admitted


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def browser(world: World) -> Browser:
    return admitted(world)


class _Stalled(io.RawIOBase):
    """A body that stops coming."""

    def readable(self) -> bool:
        return True

    def readinto(self, _: Any) -> int:
        raise TimeoutError


@pytest.mark.parametrize("path", ["/login", "/conversations/rules"])
def test_a_form_that_stops_coming_is_not_waited_for(browser: Browser, path: str) -> None:
    mine, its = socket.socketpair()
    with mine, its:
        # As gunicorn and the socket's own time-out tell it.
        environ = {"gunicorn.socket": mine, "wsgi.input": io.BufferedReader(_Stalled()), "CONTENT_LENGTH": "1000"}
        kind = "application/x-www-form-urlencoded"
        answer = browser.client.post(path, headers={"Origin": ORIGIN}, content_type=kind, environ_overrides=environ)
        assert mine.gettimeout() == 30
    assert answer.status_code == 400
    assert "stopped coming" in answer.text


def test_a_database_that_is_away_is_told_with_what_to_do(world: World, browser: Browser) -> None:
    world.audit.away = True
    text = browser.get("/audit").text
    assert "make logs SERVICE=mongo" in text and "chat history" not in text
