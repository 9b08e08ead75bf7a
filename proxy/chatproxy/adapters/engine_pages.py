"""An engine's own page and API over HTTP/1.0 or 1.1, byte for byte, for web/engine_ui."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from urllib.parse import urlsplit

from chatproxy.adapters.transport import Head, exchange
from chatproxy.core.engine_pages import PageEvent, PageHead, PageRequest
from chatproxy.errors import EngineTimeout

_TICK_S = 0.5
# What does not compute is answered at once; a page comes from the engine's memory.
_PLAIN_S = 30.0
# The connection's own (RFC 9110, 7.6.1), and what is the engine's word to browsers: its CORS is `*` for every site.
_OF_THE_CONNECTION = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
    *("transfer-encoding", "upgrade", "set-cookie", "date", "server"),
}
_CORS = "access-control-"
# What of a browser's request means something to an engine. X-Conversation-Id is none of these: with it, llama.cpp
# goes on generating when the connection has closed, in a slot that the gate has given to somebody else.
_PASSED_ON = {
    *("accept", "accept-encoding", "accept-language", "content-type", "cache-control", "pragma", "range"),
    *("if-range", "if-match", "if-none-match", "if-modified-since", "last-event-id", "x-resp-type", "x-tool-cwd"),
}


class HttpEnginePages:
    """Implements core.engine_pages.EnginePages."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str = "",
        first_byte_s: float = 600,
        idle_s: float = 120,
        abort: Callable[[str, bool], None] | None = None,
    ) -> None:
        """`url` with or without a final /v1; `abort` is Koboldcpp.abort, for an engine that needs it.

        Times: seconds of silence that are endured before and after the first byte of what is computed.
        """
        parts = urlsplit(url.rstrip("/").removesuffix("/v1"))
        self._base, self._prefix = f"{parts.scheme}://{parts.netloc}", parts.path
        self._api_key, self._stop = api_key, abort
        self._first_byte_s, self._idle_s = first_byte_s, idle_s

    def ask(self, request: PageRequest, *, computes: bool) -> Generator[PageEvent]:
        """See core.engine_pages.EnginePages."""
        first_s, idle_s = (self._first_byte_s, self._idle_s) if computes else (_PLAIN_S, _PLAIN_S)
        deadline, silence = time.monotonic() + first_s, f"no answer within {first_s:g} s"
        headers = self._headers(request.headers)
        target = self._prefix + request.target
        pieces = exchange(self._base, request.method, target, request.body, headers, tick_s=_TICK_S)
        with closing(pieces):
            for piece in pieces:
                if isinstance(piece, Head):
                    yield PageHead(piece.status, _kept(piece.headers))
                    continue
                yield piece
                if piece is not None:
                    # The time that the client took to read is not the engine's.
                    deadline, silence = time.monotonic() + idle_s, f"silent for {idle_s:g} s"
                elif time.monotonic() > deadline:
                    raise EngineTimeout(f"the engine's page: {silence}")

    def abort(self, genkey: str, *, begun: bool) -> None:
        """See core.engine_pages.EnginePages."""
        if self._stop:
            self._stop(genkey, begun)

    def _headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """The engine's key takes the place of the one that its page asks for; without one the page's own is passed."""
        passed = {name: value for name, value in given.items() if name.lower() in _PASSED_ON}
        own = next((value for name, value in given.items() if name.lower() == "authorization"), "")
        key = f"Bearer {self._api_key}" if self._api_key else own
        return {**passed, "Authorization": key} if key else passed


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    named = {name.strip().lower() for name in headers.get("connection", "").split(",")}
    dropped = _OF_THE_CONNECTION | named
    return {name: value for name, value in headers.items() if name not in dropped and not name.startswith(_CORS)}
