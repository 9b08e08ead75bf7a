"""llama.cpp's server as it runs elsewhere: behind a key. A program; `running` starts it and waits until it answers."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import requests

from scripts.lib.native import ROOT, free_port, wait_or_kill

KEY = "sk-elsewhere-0123456789"
_FOLDER = ROOT / "images" / "llamacpp"


class KeyedEngine:
    """One such server on a port of its own; it may be killed and started again there."""

    def __init__(self, model: Path, log: Path, *, slots: int = 1) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "MODEL": str(model),
            "CONTEXT_SIZE": "2048",
            "ENGINE_SLOTS": str(slots),
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "PYTHONPATH": str(ROOT),
        }
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as output:
            words = [sys.executable, __file__]
            self.process = subprocess.Popen(words, env=self._environment, stdout=output, stderr=output)

    def healthy(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self._log.read_text()
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/health", timeout=2).ok
        return False

    def tasks(self) -> int:
        """How many orders its slots have seen, by their last number."""
        headers = {"Authorization": f"Bearer {KEY}"}
        slots = requests.get(f"{self.url}/slots", headers=headers, timeout=5).json()
        return max(int(slot.get("id_task", -1)) for slot in slots) + 1

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def running(model: Path, log: Path) -> Iterator[KeyedEngine]:
    from tests.integration.proxy.conftest import until

    engine = KeyedEngine(model, log)
    engine.start()
    try:
        until(engine.healthy, 30)
        yield engine
    finally:
        assert engine.process is not None
        engine.process.terminate()
        wait_or_kill(engine.process, 10)


def _serve() -> None:
    import xllamacpp

    params = runpy.run_path(str(_FOLDER / "serve.py"))["parameters"](os.environ)
    params.api_keys = [KEY]
    server = xllamacpp.Server(params)
    print(f"serving on {server.listening_address}", file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.pause()


if __name__ == "__main__":
    _serve()
