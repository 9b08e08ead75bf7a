"""Short JSON calls to the services beside us, through one pooled session per service."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter

# koboldcpp serves 24 connections in all; streams take up to ENGINE_SLOTS of them.
_CONNECTIONS = 4
# The ids of a long prompt's tokens, or a batch of vectors, come to a few MB; more is not an answer to us.
_LONGEST_ANSWER = 64 << 20
_SHORTEST_WAIT_S = 0.001  # 0 is no time-out that requests would take


class CallFailed(Exception):
    """A call without a usable answer; the text is short, names no host and is fit for /readyz."""


class Service:
    """One HTTP service: base URL, headers for every call, short time-outs. Redirects are not followed."""

    def __init__(self, base_url: str, *, token: str = "") -> None:
        self.base_url = base_url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # no proxies from the environment: these services are our own
        # The pool's own way to wait for a connection has no end: requests gives urllib3 no time-out for it.
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        adapter = HTTPAdapter(pool_maxsize=_CONNECTIONS, pool_block=True)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, *, timeout_s: float) -> Any:
        """The decoded JSON of GET `path`. Raises CallFailed."""
        return self.call("GET", path, timeout_s=timeout_s)

    def post(self, path: str, payload: Any, *, timeout_s: float) -> Any:
        """The decoded JSON of POST `path`. Raises CallFailed."""
        return self.call("POST", path, payload, timeout_s=timeout_s)

    def call(self, method: str, path: str, payload: Any = None, *, timeout_s: float) -> Any:
        """The decoded JSON of any call; statuses 200 and 201 are good. Raises CallFailed.

        `timeout_s` counts from now: what is spent waiting for a free connection is gone.
        """
        deadline = time.monotonic() + timeout_s
        if not self._free.acquire(timeout=timeout_s):
            raise CallFailed(f"no connection free within {timeout_s:g} s")
        try:
            with self._session.request(
                method,
                self.base_url + path,
                json=payload,
                timeout=max(_SHORTEST_WAIT_S, deadline - time.monotonic()),
                allow_redirects=False,
                stream=True,
            ) as response:
                body = _body(response, deadline)
        except requests.Timeout:
            raise CallFailed(f"no answer within {timeout_s:g} s") from None
        except requests.ConnectionError as error:
            raise CallFailed(_reason(error)) from None
        except requests.RequestException as error:
            raise CallFailed(type(error).__name__) from None
        finally:
            self._free.release()
        if response.status_code not in (200, 201):
            raise CallFailed(f"HTTP {response.status_code}")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise CallFailed("the answer is not JSON") from None


def _body(response: requests.Response, deadline: float) -> bytes:
    """The answer's body, as long as it comes in time and is not endless: requests' time-out counts single reads."""
    body = bytearray()
    for piece in response.iter_content(65536):
        body += piece
        if len(body) > _LONGEST_ANSWER:
            raise CallFailed("the answer is too long")
        if time.monotonic() > deadline:
            raise requests.Timeout
    return bytes(body)


def _reason(error: BaseException) -> str:
    text = str(error)
    for sign, reason in (
        ("refused", "connection refused"),
        ("resolve", "its name does not resolve"),
        ("getaddrinfo", "its name does not resolve"),
        ("aborted", "the connection was dropped"),
        ("reset", "the connection was dropped"),
    ):
        if sign in text.lower():
            return reason
    return "cannot be reached"
