"""The worker as a process of its own, over the real services, and its command line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from scripts.lib.native import ROOT, NativeStack, free_port, wait_or_kill


class Worker:
    """Workers on one stack, one after another."""

    def __init__(self, native: NativeStack, folder: Path, **settings: str) -> None:
        self.port, self.log = free_port(), folder / "worker.log"
        self.environment = {**os.environ, **native.proxy_environment(), "WORKER_PORT": str(self.port), **settings}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [sys.executable, "-m", "chatproxy", "worker"]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                words, cwd=ROOT / "proxy", env=self.environment, stdout=output, stderr=output
            )
        end = time.monotonic() + 30
        while not self.lives():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)

    def lives(self) -> bool:
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            return requests.get(f"http://127.0.0.1:{self.port}/healthz", timeout=2).ok
        return False

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """As Docker does; returns the exit status."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        wait_or_kill(self.process, 30)
        return int(self.process.returncode)

    def sources(self, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[str]:
        """`python -m chatproxy sources ...`."""
        words = [sys.executable, "-m", "chatproxy", "sources", *arguments]
        done = subprocess.run(
            words, env=self.environment, cwd=ROOT / "proxy", capture_output=True, input=given, check=False
        )
        return subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())

    def begun(self, *arguments: str, given: bytes = b"") -> dict[str, Any]:
        """What a command that begins a job printed."""
        done = self.sources(*arguments, given=given)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def ended(self, job: str) -> dict[str, Any]:
        """The job at its end, with its report."""
        done = self.sources("watch", job)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def done(self, *arguments: str, given: bytes = b"") -> dict[str, Any]:
        return self.ended(self.begun(*arguments, given=given)["job"])


@contextlib.contextmanager
def working(native: NativeStack, folder: Path, **settings: str) -> Iterator[Worker]:
    """A worker of the stack's; `settings` in place of its own."""
    worker = Worker(native, folder, **settings)
    worker.start()
    try:
        yield worker
    finally:
        if worker.process and worker.process.poll() is None:
            worker.terminate()
