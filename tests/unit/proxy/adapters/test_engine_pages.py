"""An engine's page over the wire: bytes as they come, headers that are nobody else's business dropped, time-outs."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from chatproxy.adapters import engine_pages
from chatproxy.adapters.engine_pages import HttpEnginePages
from chatproxy.adapters.koboldcpp import Koboldcpp
from chatproxy.core.engine_pages import PageEvent, PageHead, PageRequest
from chatproxy.errors import EngineFailure, EngineTimeout
from tests.doubles.koboldcpp import KoboldcppDouble
from tests.unit.proxy.adapters.raw_server import RawServer, answer, chunked
from tests.unit.proxy.waiting import until

GZIPPED = b"\x1f\x8b\x08\x00 not for us to unpack"


def asked(pages: HttpEnginePages, request: PageRequest, *, computes: bool = False) -> tuple[PageHead, bytes]:
    events = [event for event in pages.ask(request, computes=computes) if event is not None]
    head, *body = events
    assert isinstance(head, PageHead)
    return head, b"".join(piece for piece in body if isinstance(piece, bytes))


def fields(head: str) -> dict[str, str]:
    return dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])


def test_a_page_comes_as_it_is_without_what_is_the_connections_own() -> None:
    head = (
        b'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\nETag: "x"\r\n'
        b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: *\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n"
        b"Set-Cookie: a=b\r\nServer: engine\r\nConnection: close, X-Hop\r\n\r\n" % len(GZIPPED)
    )
    with RawServer({"/?a=%2F": [head + GZIPPED]}) as server:
        told, body = asked(HttpEnginePages(server.url), PageRequest("GET", "/?a=%2F", {}))
    assert body == GZIPPED
    assert told == PageHead(
        200,
        {"content-type": "text/html", "content-encoding": "gzip", "content-length": str(len(GZIPPED)), "etag": '"x"'},
    )


def test_chunks_are_unpacked_and_their_framing_is_dropped() -> None:
    with RawServer({"/": chunked(b"a", b"b")}) as server:
        assert asked(HttpEnginePages(server.url), PageRequest("GET", "/", {})) == (PageHead(200, {}), b"ab")


def test_what_is_sent_says_nothing_of_the_client_and_has_one_length() -> None:
    given = {
        "Accept": "text/html",
        "accept-encoding": "gzip",
        "Content-Type": "application/json",
        "Content-Length": "99",
        "Transfer-Encoding": "chunked",
        "Expect": "100-continue",
        "Cookie": "a=b",
        "Host": "elsewhere",
        "Origin": "http://10.13.13.1:5001",
        "X-Forwarded-For": "10.13.13.2",
        "X-Conversation-Id": "outlives its connection",
        "Upgrade": "websocket",
    }
    with RawServer({"/completion": answer(b"{}")}) as server:
        asked(HttpEnginePages(server.url), PageRequest("POST", "/completion", given, b'{"a":1}'), computes=True)
        (head,) = server.heads
        assert server.bodies("/completion") == [{"a": 1}]
    assert fields(head) == {
        "host": server.url.removeprefix("http://"),
        "connection": "close",
        "accept": "text/html",
        "accept-encoding": "gzip",
        "content-type": "application/json",
        "content-length": "7",
    }
    assert head.lower().count("content-length") == 1


def test_a_get_has_no_length_and_an_empty_post_has_one() -> None:
    with RawServer({"/": answer(b""), "/x": answer(b"")}) as server:
        asked(HttpEnginePages(server.url), PageRequest("GET", "/", {}))
        asked(HttpEnginePages(server.url), PageRequest("POST", "/x", {}))
        get, post = server.heads
    assert "content-length" not in fields(get)
    assert fields(post)["content-length"] == "0"


@pytest.mark.parametrize(
    ("key", "sent", "expected"),
    [("k", "", "Bearer k"), ("k", "Bearer typed", "Bearer k"), ("", "Bearer typed", "Bearer typed"), ("", "", None)],
)
def test_the_engines_key_goes_before_what_is_typed_into_its_page(key: str, sent: str, expected: str | None) -> None:
    with RawServer({"/": answer(b"")}) as server:
        headers = {"Authorization": sent} if sent else {}
        asked(HttpEnginePages(server.url, api_key=key), PageRequest("GET", "/", headers))
        told = fields(server.heads[0]).get("authorization")
    assert told == (expected.lower() if expected else None)


def test_the_address_may_have_a_path_of_its_own() -> None:
    with RawServer({"/llm/props": answer(b"{}")}) as server:
        assert asked(HttpEnginePages(f"{server.url}/llm/v1/"), PageRequest("GET", "/props", {}))[0].status == 200


def test_head_ends_with_the_head() -> None:
    with RawServer({"/": [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"]}) as server:
        told = asked(HttpEnginePages(server.url), PageRequest("HEAD", "/", {}))
    assert told == (PageHead(200, {"content-length": "5"}), b"")


def test_koboldcpps_answers_without_a_length_end_with_their_connection() -> None:
    with KoboldcppDouble() as double:
        head, body = asked(HttpEnginePages(double.url), PageRequest("GET", "/no/such/thing", {}))
    assert head.status == 404
    assert body.startswith(b"Error: HTTP Server is running")


@pytest.mark.parametrize("computes", [True, False])
def test_silence_has_an_end_before_the_first_byte_and_after_it(computes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_pages, "_PLAIN_S", 0.6)
    scripts = {"/a": [10.0], "/b": [b"HTTP/1.1 200 OK\r\n\r\n", b"some", 10.0]}
    with RawServer(scripts) as server:
        pages = HttpEnginePages(server.url, first_byte_s=0.6, idle_s=0.6)
        for path in scripts:
            begun = time.monotonic()
            with pytest.raises(EngineTimeout):
                asked(pages, PageRequest("POST", path, {}), computes=computes)
            assert time.monotonic() - begun < 3


def test_what_computes_may_think_for_long_after_its_head() -> None:
    """koboldcpp sends a stream's head, then reads the prompt."""
    with RawServer({"/a": [b"HTTP/1.1 200 OK\r\n\r\n", 1.2, b"token"]}) as server:
        pages = HttpEnginePages(server.url, first_byte_s=10, idle_s=0.3)
        assert asked(pages, PageRequest("POST", "/a", {}), computes=True)[1] == b"token"


def test_an_engine_that_is_away_or_dies_is_told() -> None:
    with RawServer(
        {"/a": [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome"], "/b": [b"SSH-2.0-x\r\n\r\n"]}
    ) as server:
        for path in ("/a", "/b"):
            with pytest.raises(EngineFailure) as caught:
                asked(HttpEnginePages(server.url), PageRequest("GET", f"{path}", {}))
            assert path not in str(caught.value)  # a path, or its query, may hold what somebody wrote
    with pytest.raises(EngineFailure):
        asked(HttpEnginePages(server.url), PageRequest("GET", "/", {}))


def test_closing_hangs_up() -> None:
    endless = [b"HTTP/1.1 200 OK\r\n\r\n", *[b"more", 0.02] * 500]
    with RawServer({"/": endless}) as server:
        with closing(HttpEnginePages(server.url).ask(PageRequest("GET", "/", {}), computes=False)) as events:
            heard: list[PageEvent] = []
            while not isinstance(heard[-1:] and heard[-1], bytes):
                heard.append(next(events))
        assert server.left.wait(5)


def test_koboldcpp_is_told_to_stop_a_whole_generation() -> None:
    """It does not notice that nobody listens any more."""
    with KoboldcppDouble(reply=["word "] * 500, token_delay=0.02) as double:
        pages = HttpEnginePages(double.url, abort=Koboldcpp(double.url).abort)
        body = b'{"prompt": "Once", "max_length": 500, "genkey": "KCPP1"}'
        with closing(pages.ask(PageRequest("POST", "/api/v1/generate", {}, body), computes=True)) as events:
            next(events)
            until(lambda: double.generations and double.generations[0].tokens)
        assert not double.generations[0].done.wait(0.3)
        pages.abort("KCPP1", begun=False)
        assert double.generations[0].done.wait(2)
    assert double.generations[0].aborted
