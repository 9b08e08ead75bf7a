"""A client that measures: no library between the clock and the socket but http.client, connected before it starts."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 300.0


@dataclass
class Answer:
    """One streamed answer. Seconds from the request: of each event that `is_token` accepted, and of the end."""

    tokens: list[float] = field(default_factory=list)
    whole: float = 0.0
    data: list[bytes] = field(default_factory=list)

    @property
    def first(self) -> float:
        return self.tokens[0]

    def last_event(self) -> dict[str, Any]:
        """The JSON of the last event that has any."""
        return dict(json.loads(next(data for data in reversed(self.data) if data != b"[DONE]")))


class Wire:
    """Posts JSON to one server and reads events."""

    def __init__(self, url: str, key: str | None = None) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def ask(self, path: str, body: dict[str, Any], is_token: Callable[[bytes], bool]) -> Answer:
        """Read one stream to its end. Raises SystemExit for any answer without tokens, saying what came instead."""
        payload = json.dumps(body).encode()
        answer = Answer()
        # Anew for each: llama.cpp's server drops connections that it promised to keep.
        self._connection.close()
        self._connection.connect()
        begun = time.perf_counter()
        self._connection.request("POST", path, payload, self._headers)
        with self._connection.getresponse() as response:
            if response.status != 200:
                raise SystemExit(f"{path}: HTTP {response.status}: {response.read(500)!r}")
            while line := response.readline():
                if line.startswith(b"data: "):
                    data = line[6:].rstrip()
                    answer.data.append(data)
                    if is_token(data):
                        answer.tokens.append(time.perf_counter() - begun)
        answer.whole = time.perf_counter() - begun
        if not answer.tokens:
            raise SystemExit(f"{path}: an answer without any token: {answer.data[-1:]!r}")
        return answer


def is_completion(data: bytes) -> bool:
    """Whether it is a piece of text of `/v1/completions`, and not its end."""
    return b'"finish_reason":null' in data.replace(b" ", b"") and b'"text":""' not in data.replace(b" ", b"")


def is_chat_completion(data: bytes) -> bool:
    """Whether it is a piece of text of `/v1/chat/completions`, and not the role in front or the end."""
    compact = data.replace(b" ", b"")
    return b'"content":"' in compact and b'"content":""' not in compact


def is_token(data: bytes) -> bool:
    """Whether it is a token event of the proxy's own API."""
    return data.startswith(b'{"text":')
