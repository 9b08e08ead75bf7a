"""LiteLLM's proxy in a virtual environment of its own, made on first use: the neighbour to compare with."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import requests

from scripts.lib.native import ROOT, free_port, wait_or_kill

VERSION = "1.106.2"
KEY = "sk-bench"
START_TIMEOUT_S = 120.0
_FOLDER = ROOT / ".dev" / f"litellm-{VERSION}"


class NotInstalled(Exception):
    """It could not be installed or did not start; the text says why."""


def _installed() -> Path:
    program = _FOLDER / "bin" / "litellm"
    stamp = _FOLDER / ".whole"
    if stamp.exists():
        return program
    print(f"  installing LiteLLM {VERSION} into {_FOLDER.relative_to(ROOT)} (once; some minutes)", flush=True)
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(_FOLDER)],
        [str(_FOLDER / "bin" / "python"), "-m", "pip", "install", "-q", f"litellm[proxy]=={VERSION}"],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotInstalled((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    stamp.touch()
    return program


@contextlib.contextmanager
def running(folder: Path, upstreams: Mapping[str, str]) -> Iterator[str]:
    """Its address, serving each of `upstreams` (model name -> base URL of an OpenAI server). Raises NotInstalled."""
    program = _installed()
    port = free_port()
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_base": f"{url}/v1", "api_key": "none"}}
        for name, url in upstreams.items()
    ]
    config = folder / "litellm.yaml"
    # JSON is YAML.
    config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": KEY}}))
    words = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    # It would fetch its price list from elsewhere at the start.
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    log = folder / "litellm.log"
    with log.open("wb") as output:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        _wait(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        wait_or_kill(process, 20)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{url}/health/liveliness", timeout=2).ok:
                return
        time.sleep(0.2)
    raise NotInstalled("it did not start: " + " ".join(log.read_text(errors="replace").splitlines()[-3:]))
