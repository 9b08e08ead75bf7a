"""make bench ONLY=fit: the memory that is reckoned for a model beside what llama.cpp's server really takes."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatproxy.core.fitting import MB, need
from scripts.lib import shapes
from scripts.lib.fetch import fetch_model
from scripts.lib.native import ROOT, free_port, wait_or_kill
from tests.bench import figures
from tests.doubles import made_models

BATCH = 64
_START_S = 60.0
# Of a context, in tokens: what a prompt takes of it, with room for the answer.
_PROMPT = 0.8


@dataclass(frozen=True)
class Fit:
    """Bytes, reckoned and resident after a long prompt in every slot; `used` leaves out mapped pages that were read
    while the model was loaded and not since."""

    predicted: int
    resident: int
    used: int

    @property
    def ratio(self) -> float:
        return self.predicted / self.used


def measure(model: Path, context: int, slots: int) -> Fit:
    """Start the image's own program, let it answer a long prompt in every slot, and look at the process."""
    shape = shapes.shape(model)
    assert shape is not None
    predicted = need(model.stat().st_size, shape, context=context, slots=slots, batch=BATCH).total
    given = {"MODEL": str(model), "CONTEXT_SIZE": str(context), "ENGINE_SLOTS": str(slots), "PROMPT_CACHE_MIB": "0"}
    with _serving(given | {"BATCH": str(BATCH)}) as (process, port):
        # From here on the kernel notes which pages are looked at.
        Path(f"/proc/{process.pid}/clear_refs").write_text("1\n", encoding="ascii")
        for slot in range(slots):
            words = [300 + (7 * slot + 13 * n) % 4000 for n in range(int(context * _PROMPT))]
            asked = {"prompt": words, "n_predict": 4, "id_slot": slot, "ignore_eos": True}
            assert len(_ask(port, "/completion", asked)["content"]) >= 0
        resident, untouched = memory(process.pid, model)
    return Fit(predicted, resident, resident - untouched)


def memory(pid: int, model: Path) -> tuple[int, int]:
    """(resident bytes of a process, those of them that map `model` and were not looked at since clear_refs)."""
    resident = untouched = 0
    ours = False
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = line.endswith(f"/{model.name}")
        elif name == "Rss":
            resident += int(value.split()[0]) * 1024
            untouched += ours * int(value.split()[0]) * 1024
        elif name == "Referenced" and ours:
            untouched -= int(value.split()[0]) * 1024
    return resident, untouched


@contextmanager
def _serving(given: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    environment = {**os.environ, **given, "HOST": "127.0.0.1", "PORT": str(port), "THREADS": "2"}
    command = [sys.executable, str(ROOT / "images" / "llamacpp" / "serve.py")]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            end = time.monotonic() + _START_S
            while not _healthy(port):
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise RuntimeError(log.read()[-2000:].decode("utf-8", "replace"))
                time.sleep(0.05)
            yield process, port
        finally:
            process.kill()
            wait_or_kill(process, 10)


def _healthy(port: int) -> bool:
    try:
        return _ask(port, "/health").get("status") == "ok"
    except OSError:
        return False


def _ask(port: int, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()


def run() -> None:
    figures.heading("memory in MB: reckoned, resident (of which looked at since the start), reckoned by looked at")
    starter = fetch_model("smollm2-135m-instruct", ROOT / "models", python=sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        for made in (None, *made_models.MADE):
            model = made_models.write(made, Path(folder)) if made else starter
            for context, slots in ((1024, 1), (1024, 4), (4096, 1)):
                fit = measure(model, context, slots)
                name = f"{model.stem[:20]}, {slots} x {context} tokens"
                parts = [value / MB for value in (fit.predicted, fit.resident, fit.used)]
                print(f"  {name:<42}{parts[0]:8.1f} {parts[1]:8.1f} ({parts[2]:.1f}), {fit.ratio:.3f}", flush=True)
            if made:
                model.unlink()
