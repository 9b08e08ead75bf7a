"""Chroma, the store of passages, through its v2 HTTP API."""

from __future__ import annotations

from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.errors import Unhealthy

_CHECK_TIMEOUT_S = 2.0


class Chroma:
    """Implements core.ports.HealthCheck."""

    name = "chroma"

    def __init__(self, url: str, *, token: str = "") -> None:
        self._service = Service(url, token=token)

    def check(self) -> None:
        """See core.ports.HealthCheck."""
        try:
            answer = self._service.get("/api/v2/heartbeat", timeout_s=_CHECK_TIMEOUT_S)
        except CallFailed as error:
            raise Unhealthy("the token is refused" if str(error) in ("HTTP 401", "HTTP 403") else str(error)) from None
        if not isinstance(answer, dict) or "nanosecond heartbeat" not in answer:
            raise Unhealthy("it does not talk like Chroma")
