"""The composed appliance, brought up by the real `make up` from a clean copy of this tree, packages only.

A test run that cannot start it fails; it is never skipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "chatbot-test"
SERVICES = {"caddy", "proxy", "engine", "embeddings", "chroma", "mongo", "worker"}
UP_TIMEOUT_S = 1500
# gunicorn's and Docker's own restart delays, a model load, and two rounds of health checks.
RECOVERY_TIMEOUT_S = 90


class Appliance:
    """One checkout of the project and the stack that its `make up` started."""

    def __init__(self, folder: Path, project: str = PROJECT) -> None:
        self.folder, self.project = folder, project
        self.key = ""
        self.up_output = ""
        self.up_seconds = 0.0
        self.session = requests.Session()
        # Else a CA bundle named in the environment would win over the appliance's own authority.
        self.session.trust_env = False

    def make(
        self, *words: str, timeout: float = UP_TIMEOUT_S, before: Sequence[str] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs make as an operator without a terminal would; stdout and stderr together. `before` are a command's words
        that runs it."""
        return subprocess.run(
            [*before, "make", "--no-print-directory", *words],
            cwd=self.folder,
            env={**os.environ, "COMPOSE_PROJECT_NAME": self.project, "CI": "true", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def containers(self) -> dict[str, dict[str, Any]]:
        """service -> `docker inspect` of its container."""
        ids = docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.project}").split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}

    def execute(self, service: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        identity = self.containers()[service]["Id"]
        return subprocess.run(["docker", "exec", identity, *words], capture_output=True, text=True, check=check)

    def trust(self) -> None:
        """Takes the root certificate of Caddy's own authority, as an operator's browser would be told to."""
        root = self.execute("caddy", "cat", "/data/caddy/pki/authorities/local/root.crt").stdout
        file = self.folder / ".appliance" / "test-root.crt"
        file.write_text(root)
        self.session.verify = str(file)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        options.setdefault("timeout", 300)
        return self.session.request(method, f"https://localhost{path}", headers=headers, **options)

    def chat(self, message: str, **fields: Any) -> dict[str, Any]:
        answer = self.request("POST", "/api/v1/chat", json={"message": message, **fields})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def messages(self, conversation: str) -> list[dict[str, Any]]:
        answer = self.request("GET", f"/api/v1/conversations/{conversation}")
        assert answer.status_code == 200, answer.text
        return list(answer.json()["messages"])

    def readyz(self) -> tuple[int, dict[str, Any]]:
        try:
            answer = self.request("GET", "/readyz", timeout=15)
            return answer.status_code, dict(answer.json())
        except (requests.RequestException, ValueError) as error:
            return 0, {"error": str(error)}

    def wait_healthy(self, timeout: float = RECOVERY_TIMEOUT_S, *, also: frozenset[str] = frozenset()) -> float:
        """Seconds until every container is healthy and /readyz says so; fails the test after ``timeout``.

        ``also`` are services that are there under some settings only."""
        begun = time.monotonic()
        states: dict[str, str] = {}
        while time.monotonic() - begun < timeout:
            states = {name: health(each) for name, each in self.containers().items()}
            if set(states) == SERVICES | also and set(states.values()) == {"healthy"} and self.readyz()[0] == 200:
                return time.monotonic() - begun
            time.sleep(0.5)
        pytest.fail(f"not healthy within {timeout:.0f} s: {states}, /readyz {self.readyz()}")


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


def health(container: dict[str, Any]) -> str:
    state = container["State"]
    return str(state.get("Health", {}).get("Status", "none")) if state["Running"] else "stopped"


def clean_copy(target: Path) -> Path:
    """What git has or would take, and nothing that this machine made: settings, secrets, weights, staged wheels."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def remove(appliance: Appliance) -> None:
    """Ends the test stack with its volumes; nothing of another project is touched."""
    own = f"label=com.docker.compose.project={appliance.project}"
    ids = docker("ps", "--all", "--quiet", "--filter", own).split()
    if ids:
        docker("rm", "--force", "--volumes", *ids)
    for kind in ("volume", "network"):
        named = docker(kind, "ls", "--quiet", "--filter", own).split()
        if named:
            docker(kind, "rm", *named)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Appliance:
    """A clean copy in which nothing was run yet."""
    return Appliance(clean_copy(tmp_path_factory.mktemp("checkout")))


@contextmanager
def brought_up(folder: Path, **settings: str) -> Iterator[Appliance]:
    """Up, healthy, its first key taken from what `make up` printed; gone with its volumes afterwards."""
    running = Appliance(folder)
    remove(running)
    try:
        begun = time.monotonic()
        done = running.make("up", SOURCES="packages", **settings)
        running.up_seconds, running.up_output = time.monotonic() - begun, done.stdout
        assert done.returncode == 0, done.stdout
        key = re.search(r"\bkb_[A-Za-z0-9_-]+", done.stdout)
        assert key, done.stdout
        running.key = key.group()
        running.trust()
        yield running
    finally:
        if not os.environ.get("KEEP_STACK"):
            remove(running)


@pytest.fixture(scope="session")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """The one that all tests share."""
    with brought_up(clean_copy(tmp_path_factory.mktemp("appliance"))) as running:
        yield running
