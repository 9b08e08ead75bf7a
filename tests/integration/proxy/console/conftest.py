"""A mongod and a proxy of these tests' own, with a console; no engine, which the console does without."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import requests

from chatproxy.adapters.mongo import Database
from scripts.lib.native import ROOT, NativeStack

PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeStack]:
    stack = NativeStack(tmp_path_factory.mktemp("console"), ROOT / "models" / "none.gguf", with_proxy=True)
    try:
        stack.start("mongo")
        stack.start("proxy")
        yield stack
    finally:
        stack.close()


@pytest.fixture
def database(appliance: NativeStack) -> Database:
    password = appliance.mongo_password_file.read_text().strip()
    return Database(appliance.mongo_url, "chatbot", user="chatproxy", password=password)


def command(stack: NativeStack, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """`python -m chatproxy ...` with the proxy's own environment."""
    return subprocess.run(
        [sys.executable, "-m", "chatproxy", *words],
        env={**os.environ, **stack.proxy_environment()},
        cwd=ROOT / "proxy",
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


_ADDRESSES = (f"10.13.13.{number}" for number in itertools.count(2))


@dataclass
class Visit:
    """A browser in front of the console, as far as HTTP goes; each has an address of its own, as the gate tells it."""

    stack: NativeStack
    address: str = field(default_factory=lambda: next(_ADDRESSES))
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.headers["X-Forwarded-For"] = self.address

    def get(self, path: str) -> requests.Response:
        return self.session.get(f"{self.stack.console_url}{path}", timeout=30)

    def post(self, path: str, **fields: str) -> requests.Response:
        headers = {"Origin": self.stack.console_url}
        return self.session.post(
            f"{self.stack.console_url}{path}", data=fields, headers=headers, timeout=60, allow_redirects=False
        )

    def form(self, path: str, **fields: str) -> requests.Response:
        """With the session's token."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get("/audit").text)
        assert found
        return self.post(path, csrf=found[1], **fields)

    def log_in(self, name: str, password: str = PASSWORD) -> requests.Response:
        return self.post("/login", name=name, password=password)


@pytest.fixture
def visit(appliance: NativeStack) -> Visit:
    return Visit(appliance)
