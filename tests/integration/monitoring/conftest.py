"""A real Prometheus over the real proxy, worker and embeddings service, and some load."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_backups import MongoBackups
from chatproxy.core.types import now
from scripts.lib import prometheus
from scripts.lib.native import ROOT, NativeStack, free_port, wait_or_kill
from tests.doubles.tls_server import certificate, serving

DOMAIN = "chat.example.org"
# Answers of each end that the load gets.
ANSWERED, REFUSED, CANCELLED = 12, 1, 1


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of `prometheus` and `promtool`."""
    return prometheus.ensure()


@dataclass
class Watched:
    """The services, the key that asks them, and the Prometheus that watches."""

    stack: NativeStack
    key: str
    prometheus: str
    targets: Mapping[str, str]

    def database(self) -> Database:
        password = self.stack.mongo_password_file.read_text().strip()
        return Database(self.stack.mongo_url, "chatbot", user="chatproxy", password=password)

    def ask(self, path: str, **parameters: Any) -> Any:
        """Prometheus' answer."""
        response = requests.get(f"{self.prometheus}/api/v1/{path}", params=parameters, timeout=30)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    def page(self, job: str) -> str:
        return requests.get(f"http://{self.targets[job]}/metrics", timeout=10).text


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, starter_model: Path, tools: Path) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("monitoring")
    stack = NativeStack(folder, starter_model, with_proxy=True)
    worker = f"127.0.0.1:{free_port()}"
    begins, ends = now() - timedelta(days=30), now() + timedelta(days=60)
    file = certificate(folder, DOMAIN, f"{begins:%Y%m%d%H%M%SZ}", f"{ends:%Y%m%d%H%M%SZ}")
    with serving(file) as (port, _):
        stack.configure("proxy", EDGE_ADDRESS=f"127.0.0.1:{port}", DOMAIN=DOMAIN)
        stack.configure("worker", METRICS_LISTEN=worker)
        try:
            stack.start()
            hosts = {"proxy": stack.console_url, "embeddings": stack.embeddings_url}
            targets = {job: url.removeprefix("http://") for job, url in hosts.items()} | {"worker": worker}
            with _watching(tools, folder, targets) as address:
                yield Watched(stack, _new_key(stack), address, targets)
        finally:
            stack.close()


class _watching:
    """The shipped configuration with these targets, asked each second."""

    def __init__(self, tools: Path, folder: Path, targets: Mapping[str, str]) -> None:
        self._program, self._folder, self._port = tools / "prometheus", folder / "prometheus", free_port()
        self._folder.mkdir()
        shipped = ROOT / "compose" / "prometheus"
        config = yaml.safe_load((shipped / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(shipped / name) for name in config["rule_files"]]
        for job in config["scrape_configs"]:
            address = targets.get(job["job_name"], f"127.0.0.1:{self._port}")
            job["static_configs"] = [{"targets": [address]}]
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> str:
        words = [str(self._program), f"--config.file={self._folder}/prometheus.yml"]
        words += [f"--storage.tsdb.path={self._folder}/data", f"--web.listen-address=127.0.0.1:{self._port}"]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)
        address, end = f"http://127.0.0.1:{self._port}", time.monotonic() + 30
        while not _answers(f"{address}/-/ready"):
            assert time.monotonic() < end, (self._folder / "prometheus.log").read_text()
            time.sleep(0.1)
        return address

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        wait_or_kill(self._process, 10)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).status_code == 200
    except requests.RequestException:
        return False


def _new_key(stack: NativeStack) -> str:
    words = [sys.executable, "-m", "chatproxy", "keys", "create", "--name", "load", "--scopes", "chat,admin"]
    environment = {**stack.proxy_environment(), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(words, env=environment, cwd=ROOT / "proxy", capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def loaded(watched: Watched) -> Watched:
    """After a load run: answers of several kinds, a document read, a backup made, and some looks of Prometheus."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {watched.key}"
    url = watched.stack.proxy_url
    given = {"file": ("handbook.txt", b"The lighthouse opens at nine. " * 50)}
    added = session.post(f"{url}/api/v1/knowledge/sources", files=given, data={"collection": "site"}, timeout=30)
    assert added.status_code == 202, added.text

    def answer(number: int, tokens: int = 12) -> int:
        body = {"prompt": f"Count to {number}:", "max_tokens": tokens, "model": watched.stack.model.stem}
        headers = dict(session.headers)
        return requests.post(f"{url}/v1/completions", json=body, headers=headers, timeout=120).status_code

    # A rate is seen between two looks, and a look may fail while both cores answer: rest before and after the last one.
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(answer, range(ANSWERED - 1))) == [200] * (ANSWERED - 1)
    _until_seen(watched, f"sum(chatbot_first_token_seconds_count) == {ANSWERED - 1}")
    assert answer(ANSWERED) == 200
    _until_seen(watched, f"sum(chatbot_first_token_seconds_count) == {ANSWERED}")
    assert answer(0, tokens=100_000) == 400  # it does not fit
    body = {"message": "Tell a long story.", "stream": True}
    with session.post(f"{url}/api/v1/chat", json=body, stream=True, timeout=60) as response:
        next(line for line in response.iter_lines() if line.startswith(b"event: token"))
    MongoBackups(watched.database()).done(now())
    _until_seen(watched, 'chatbot_answers_total{end="cancelled",bot!=""}')
    time.sleep(5)  # so that rates have two looks on either side of the load
    return watched


def _until_seen(watched: Watched, query: str) -> None:
    end = time.monotonic() + 60
    while watched.ask("query", query=query)["result"] == []:
        assert time.monotonic() < end, watched.page("proxy")
        time.sleep(0.5)
