"""Streams ping while waiting, end when the client has left, and always close what they stream."""

from __future__ import annotations

import socket
from collections.abc import Generator

from chatproxy.core.generation import Token, Waiting
from chatproxy.errors import EngineTimeout
from chatproxy.web.clients import watch
from chatproxy.web.sse import encode, named_error, stream, to_the_end


class Events:
    """A source of events that remembers whether it was closed."""

    def __init__(self, *events: Token | Waiting | Exception) -> None:
        self.events, self.closed = events, False

    def __call__(self) -> Generator[Token | Waiting]:
        try:
            for event in self.events:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed = True


def write(event: Token | Waiting) -> bytes:
    return encode("token", {"text": event.text}) if isinstance(event, Token) else b""


def body(events: Events, *, gone: bool = False, ping_every_s: float = 0.0) -> bytes:
    response = stream(events(), write, named_error, lambda: gone, ping_every_s=ping_every_s)
    text = b"".join(bytes(chunk) for chunk in response.response if isinstance(chunk, bytes))
    response.close()
    return text


def test_waiting_is_told_as_comments() -> None:
    assert body(Events(Waiting(), Token("é"), Waiting())) == (
        b': stream\n\n: ping\n\nevent: token\ndata: {"text":"\xc3\xa9"}\n\n: ping\n\n'
    )


def test_pings_are_spaced() -> None:
    assert b"ping" not in body(Events(Waiting(), Waiting(), Token("a")), ping_every_s=60)


def test_a_client_that_has_left_ends_it() -> None:
    events = Events(Token("a"), Waiting(), Token("b"))
    assert body(events, gone=True).endswith(b'{"text":"a"}\n\n')
    assert events.closed


def test_an_error_is_the_last_event() -> None:
    events = Events(Token("a"), EngineTimeout("inside"))
    assert body(events).endswith(
        b'event: error\ndata: {"code":"engine_timeout","message":"The language model did not answer in time."}\n\n'
    )
    assert events.closed


def test_closing_before_the_first_byte_closes_the_source() -> None:
    events = Events(Token("a"), Token("b"))
    source = events()
    next(source)
    stream(source, write, named_error, lambda: False).close()
    assert events.closed


def test_without_a_stream_a_client_that_has_left_ends_it_too() -> None:
    events = Events(Token("a"), Waiting(), Token("b"))
    assert to_the_end(events(), lambda: True) is None
    assert events.closed
    assert to_the_end(Events(Waiting(), Token("b"))(), lambda: False) == Token("b")


def test_a_closed_connection_is_noticed_and_an_open_or_talking_one_is_not() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        gone = watch({"gunicorn.socket": ours})
        assert not gone()
        theirs.sendall(b"GET /next HTTP/1.1\r\n")
        assert not gone()
        ours.recv(100)
        theirs.close()
        assert gone()
    assert not watch({})()


def lines(*events: Token | Waiting | Exception, comments: bool) -> bytes:
    response = stream(
        Events(*events)(),
        lambda event: f"{event.text}\n".encode() if isinstance(event, Token) else b"",
        lambda error: f"!{error.code}\n".encode(),
        lambda: False,
        content_type="application/x-ndjson",
        comments=comments,
        ping_every_s=0.0,
    )
    assert response.content_type == "application/x-ndjson"
    return b"".join(bytes(chunk) for chunk in response.response if isinstance(chunk, bytes))


def test_a_form_of_its_own_knows_no_comments_and_tells_errors_its_own_way() -> None:
    assert lines(Waiting(), Token("a"), EngineTimeout("inside"), comments=False) == b"a\n!engine_timeout\n"
    assert lines(Waiting(), Token("a"), comments=True) == b": stream\n\n: ping\n\na\n"


def test_a_defect_in_mid_stream_is_told_without_its_words() -> None:
    assert lines(Token("a"), RuntimeError("hunter2"), comments=False) == b"a\n!internal_error\n"
