"""The proxy as gunicorn runs it, over the real services."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from chatproxy import parts
from chatproxy.core.keys import Keyring
from chatproxy.settings import Settings
from scripts.lib.native import ROOT, NativeStack, free_port, wait_or_kill

STORY = "Write a very long story about a lighthouse keeper. Use at least two thousand words."


@dataclass
class Proxy:
    """A running proxy; `as_` gives a session that holds a fresh key."""

    url: str
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    log: Path

    @functools.cached_property
    def _keyring(self) -> Keyring:
        return parts.keyring(Settings.from_environment(self.environment))

    def keys(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python -m chatproxy keys ...` with the proxy's own environment."""
        words = [sys.executable, "-m", "chatproxy", "keys", *arguments]
        return subprocess.run(
            words, env=self.environment, cwd=ROOT / "proxy", capture_output=True, text=True, check=False
        )

    def new_key(self, scopes: str = "chat,kobold") -> str:
        """As `keys create` makes it, without a process of its own: that takes a second, and every test wants a key."""
        return self._keyring.create("test", frozenset(scopes.split(",")))[0]

    def as_(self, scopes: str = "chat,kobold") -> Client:
        return Client(self.url, self.new_key(scopes))

    def ready(self) -> tuple[int, dict[str, Any]]:
        response = requests.get(f"{self.url}/readyz", timeout=10)
        return response.status_code, response.json()


class Client:
    """Talks to the proxy with one key."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {key}"

    def chat(self, message: str, **fields: Any) -> requests.Response:
        """A new conversation is with the bot `brief`."""
        if "conversation_id" not in fields:
            fields = {"bot": "brief", **fields}
        return self.session.post(f"{self.url}/api/v1/chat", json={"message": message, **fields}, timeout=120)

    def stream(self, message: str, **fields: Any) -> requests.Response:
        """With the default bot, whose answers take seconds."""
        body = {"message": message, "stream": True, **fields}
        return self.session.post(f"{self.url}/api/v1/chat", json=body, stream=True, timeout=120)

    def conversation(self, conversation_id: str) -> dict[str, Any]:
        response = self.session.get(f"{self.url}/api/v1/conversations/{conversation_id}", timeout=30)
        response.raise_for_status()
        return dict(response.json())


def events_of(response: requests.Response) -> Generator[tuple[str, Any]]:
    """(name, data) of each event as it arrives."""
    name = ""
    for line in response.iter_lines(chunk_size=1):
        if line.startswith(b"event: "):
            name = line[7:].decode()
        elif line.startswith(b"data: "):
            yield name, json.loads(line[6:])


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@contextlib.contextmanager
def running_proxy(native: NativeStack, folder: Path, **settings: str) -> Iterator[Proxy]:
    """gunicorn with its own configuration file on a free port; `settings` are added to the stack's environment."""
    port = free_port()
    own = {"BOTS_DIR": str(_bots(folder)), "LISTEN": f"127.0.0.1:{port}"}
    environment = {**os.environ, **native.proxy_environment(), **own, **settings}
    words = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"]
    log = folder / f"proxy-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(words, cwd=ROOT / "proxy", env=environment, stdout=output, stderr=output)
    proxy = Proxy(f"http://127.0.0.1:{port}", environment, process, log)
    try:
        until(lambda: _lives(proxy), 30)
        yield proxy
    finally:
        process.terminate()
        wait_or_kill(process, 20)


def _bots(folder: Path) -> Path:
    """The shipped bots; `brief` for tests that want any answer, `steady` for those that act in the middle."""
    bots = folder / "bots"
    shutil.copytree(ROOT / "compose" / "bots", bots, dirs_exist_ok=True)
    (bots / "steady.yaml").write_text("name: Steady\nsystem: Tell stories.\nsampling: factual\nmax_tokens: 96\n")
    (bots / "brief.yaml").write_text("name: Brief\nsystem: Answer briefly.\nsampling: factual\nmax_tokens: 24\n")
    return bots


def _lives(proxy: Proxy) -> bool:
    assert proxy.process.poll() is None, proxy.log.read_text()
    with contextlib.suppress(requests.ConnectionError, requests.Timeout):
        return requests.get(f"{proxy.url}/healthz", timeout=2).ok
    return False


@pytest.fixture(scope="session")
def proxy(native: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_proxy(native, tmp_path_factory.mktemp("proxy")) as running:
        yield running
