"""Asking the appliance from outside, as a visitor does: through Caddy, with TLS, on this machine's published port."""

from __future__ import annotations

import http.client
import json
import shlex
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib import paths
from scripts.lib.compose import Compose
from scripts.lib.setting_checks import is_public_name

CA_FILE = paths.STATE / "caddy-root.crt"
_CA_IN_CADDY = "/data/caddy/pki/authorities/local/root.crt"


class _ThisMachine(http.client.HTTPSConnection):
    """HTTPS to 127.0.0.1 that asks for, and checks, another host's name: DNS need not lead here yet."""

    def __init__(self, name: str, port: int, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(name, port, timeout=timeout, context=context)
        self._tls = context

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


@dataclass(frozen=True)
class Edge:
    """The published address. `domain` is DOMAIN, `port` HTTPS_PORT."""

    domain: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.domain}]" if ":" in self.domain else self.domain
        return f"https://{host}" + ("" if self.port == 443 else f":{self.port}")

    @property
    def public(self) -> bool:
        return is_public_name(self.domain)

    def context(self) -> ssl.SSLContext:
        """Trusts public authorities, and Caddy's own where that signs for DOMAIN."""
        context = ssl.create_default_context()
        if not self.public and CA_FILE.is_file():
            context.load_verify_locations(CA_FILE)
        return context

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        """To this machine, under the published name. Requests need `host` as their Host header."""
        return _ThisMachine(self.domain, self.port, self.context(), timeout)

    @property
    def host(self) -> str:
        """What http.client cannot know: the name with its port, as Caddy matches it."""
        return self.url.removeprefix("https://")

    def get(self, path: str, timeout: float = 10) -> tuple[int, bytes]:
        """(status, body) of a GET. OSError (ssl.SSLError among them) when no answer came."""
        connection = self.connection(timeout)
        try:
            # http.client would put the port beside a name it was not told about; Caddy matches the bare name.
            connection.request("GET", path, headers={"Host": self.host})
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def readyz(self) -> dict[str, Any]:
        """/readyz as it came, whether ready or not. OSError when there was no such answer."""
        status, body = self.get("/readyz")
        try:
            answer: dict[str, Any] = json.loads(body)
        except ValueError as error:
            raise ConnectionError(f"/readyz answered {status} without JSON") from error
        return answer

    def wait_for_tls(self, timeout_s: float) -> str | None:
        """None once a handshake with a valid certificate succeeds, else what stood in the way to the end."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.get("/healthz")
            except OSError as error:
                trouble = getattr(error, "verify_message", "") or str(error) or type(error).__name__
            else:
                return None
            if time.monotonic() > deadline:
                return trouble
            time.sleep(1)

    def save_ca(self, compose: Compose, file: Path = CA_FILE) -> bool:
        """Copy the root certificate of Caddy's own authority out, for curl and browsers. False when there is none."""
        if self.public:
            return False
        status, text, _ = compose.run_in("caddy", ["cat", _CA_IN_CADDY])
        if status != 0 or "BEGIN CERTIFICATE" not in text:
            return False
        if not (file.is_file() and file.read_text(encoding="ascii") == text):
            file.write_text(text, encoding="ascii")
        return True

    def curl(self, key: str, body: str) -> str:
        """A command line that asks the first question; it works from this machine as it stands."""
        trust = f" --cacert {shlex.quote(str(CA_FILE))}" if not self.public and CA_FILE.is_file() else ""
        trust = trust or ("" if self.public else " -k")
        return (
            f"curl{trust} {self.url}/api/v1/chat \\\n"
            f"      -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
            f"      -d '{body}'"
        )
