"""What the proxy adds to the bare engine: time to the first token and time to the whole answer.

Paired: each round asks the engine directly and through the proxy, in turn, with the same prompt, on the same machine.
Named baseline: llama.cpp's server with SmolLM2-135M, its own `/v1/completions`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import requests

from scripts.lib import venv
from scripts.lib.fetch import fetch_model
from scripts.lib.native import ROOT, NativeStack

ROUNDS = int(os.environ.get("ROUNDS") or 40)
TOKENS = 24
QUESTION = "Name three colours."
Timing = tuple[float, float]  # seconds to the first token, seconds to the end


def _stream(send: Callable[[], requests.Response], is_token: Callable[[bytes], bool]) -> Timing:
    begun = time.perf_counter()
    first = 0.0
    with send() as answer:
        answer.raise_for_status()
        for line in answer.iter_lines(chunk_size=1):
            if not first and is_token(line):
                first = time.perf_counter() - begun
    return first, time.perf_counter() - begun


def _key(stack: NativeStack, python: str) -> str:
    words = [python, "-m", "chatproxy", "keys", "create", "--name", "bench", "--scopes", "chat", "--json"]
    environment = {**os.environ, **stack.proxy_environment()}
    done = subprocess.run(words, cwd=ROOT / "proxy", env=environment, check=True, capture_output=True, text=True)
    return str(json.loads(done.stdout)["key"])


def _row(name: str, bare: list[float], proxied: list[float]) -> str:
    added = statistics.median(b - a for a, b in zip(bare, proxied, strict=True)) * 1000
    low, high = statistics.median(bare) * 1000, statistics.median(proxied) * 1000
    return f"  {name:<16}{low:10.1f}{high:10.1f}{added:+10.1f}{high / low:9.3f}"


def run() -> None:
    python = str(venv.ensure())
    model = fetch_model("smollm2-135m-instruct", ROOT / "models", python=python)
    with tempfile.TemporaryDirectory() as folder:
        stack = NativeStack(Path(folder), model, python=python, with_proxy=True)
        try:
            stack.start()
            _measure(stack, _key(stack, python))
        finally:
            stack.close()


def _measure(stack: NativeStack, key: str) -> None:
    session = requests.Session()
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    completion = {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "stream": True, "ignore_eos": True}
    headers = {"Authorization": f"Bearer {key}"}

    def bare() -> requests.Response:
        return session.post(f"{stack.engine_url}/v1/completions", json=completion, stream=True, timeout=60)

    def proxied() -> requests.Response:
        body = {"message": QUESTION, "stream": True}
        return session.post(f"{stack.proxy_url}/api/v1/chat", json=body, headers=headers, stream=True, timeout=60)

    pairs: list[tuple[Timing, Timing]] = []
    for round_number in range(ROUNDS + 3):
        one = _stream(bare, lambda line: b'"text"' in line)
        other = _stream(proxied, lambda line: line == b"event: token")
        if round_number >= 3:  # the first rounds fill caches
            pairs.append((one, other))
    print(
        f"time to first token, ms, medians of {ROUNDS} paired rounds (llama.cpp bare, through the proxy, added, ratio)"
    )
    print(_row("first token", [a[0] for a, _ in pairs], [b[0] for _, b in pairs]))


if __name__ == "__main__":
    run()
