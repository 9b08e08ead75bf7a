"""The console over the real services, and its owner as a browser without scripts."""

from __future__ import annotations

import contextlib
import html
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from scripts.lib.native import ROOT, NativeStack, free_port
from tests.integration.proxy.conftest import Proxy, running_proxy

NAME, PASSWORD = "anna", "a long password"


class Owner:
    """Somebody who has logged in; every POST carries what a form of ours does."""

    def __init__(self, url: str) -> None:
        self.url, self.session = url, requests.Session()
        self.session.headers["Origin"] = url
        given = {"name": NAME, "password": PASSWORD}
        assert self.session.post(f"{url}/login", data=given, timeout=10, allow_redirects=False).status_code == 303
        self.csrf = self._token()

    @property
    def cookie(self) -> str:
        return str(self.session.cookies["console"])

    def page(self, path: str) -> str:
        answer = self.session.get(f"{self.url}{path}", timeout=30)
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    def send(self, path: str, fields: dict[str, Any] | None = None, **more: Any) -> requests.Response:
        """A form, and the page that it leads to."""
        return self.session.post(f"{self.url}{path}", data={"csrf": self.csrf, **(fields or {})}, timeout=120, **more)

    def _token(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.page("/audit"))
        assert found
        return found[1]


@contextlib.contextmanager
def running_console(native: NativeStack, folder: Path, **settings: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy whose console listens too, with an admin; and the console's address."""
    place = f"127.0.0.1:{free_port()}"
    with running_proxy(native, folder, CONSOLE_LISTEN=place, **settings) as proxy:
        words = [sys.executable, "-m", "chatproxy", "admins", "put", "--name", NAME, "--password-stdin"]
        given = {"input": f"{PASSWORD}\n", "text": True}
        subprocess.run(words, env=proxy.environment, cwd=ROOT / "proxy", check=True, capture_output=True, **given)
        yield proxy, f"http://{place}"
