"""What the proxy adds to the bare engine until the first token.

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

from chatproxy.adapters.bots import BotFiles
from chatproxy.core.prompts import Formats
from chatproxy.core.sampling import PRESETS
from chatproxy.core.types import Turn
from scripts.lib import venv
from scripts.lib.fetch import fetch_model
from scripts.lib.native import ROOT, NativeStack

ROUNDS = int(os.environ.get("ROUNDS") or 40)
WARM_UP = 3  # rounds that fill caches and are not counted
QUESTION = "Name three colours."


def _first_token(send: Callable[[], requests.Response], is_token: Callable[[bytes], bool]) -> float:
    """Seconds from the request to its first token; the rest of the answer is cut off by leaving."""
    begun = time.perf_counter()
    with send() as answer:
        answer.raise_for_status()
        for line in answer.iter_lines(chunk_size=1):
            if is_token(line):
                return time.perf_counter() - begun
    raise SystemExit("an answer without any token")


def _settle(stack: NativeStack) -> None:
    """Waits until the engine has noticed that nobody reads any more: no round may run beside the one before."""
    while any(slot["is_processing"] for slot in requests.get(f"{stack.engine_url}/slots", timeout=30).json()):
        time.sleep(0.02)


def _key(stack: NativeStack, python: str) -> str:
    words = [python, "-m", "chatproxy", "keys", "create", "--name", "bench", "--scopes", "chat", "--json"]
    environment = {**os.environ, **stack.proxy_environment()}
    done = subprocess.run(words, cwd=ROOT / "proxy", env=environment, check=True, capture_output=True, text=True)
    return str(json.loads(done.stdout)["key"])


def _prompt() -> str:
    """Byte for byte what the proxy sends for this question, so that both sides read the same prompt."""
    formats = Formats()
    bot = BotFiles(ROOT / "compose" / "bots", formats=formats.names, presets=PRESETS).get("assistant")
    turns = [Turn("user", QUESTION)]
    return formats.get("chatml").render(bot, turns).text


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
    completion = {"prompt": _prompt(), "max_tokens": 512, "temperature": 0, "stream": True}
    headers = {"Authorization": f"Bearer {key}"}

    def bare() -> requests.Response:
        return session.post(f"{stack.engine_url}/v1/completions", json=completion, stream=True, timeout=60)

    def proxied() -> requests.Response:
        body = {"message": QUESTION, "stream": True}
        return session.post(f"{stack.proxy_url}/api/v1/chat", json=body, headers=headers, stream=True, timeout=60)

    pairs: list[tuple[float, float]] = []
    for round_number in range(ROUNDS + WARM_UP):
        direct = _first_token(bare, lambda line: b'"text"' in line)
        _settle(stack)
        through = _first_token(proxied, lambda line: line == b"event: token")
        _settle(stack)
        if round_number >= WARM_UP:
            pairs.append((direct, through))
    print(f"time to first token, ms, medians of {ROUNDS} paired rounds")
    print(f"  {'':<16}{'bare':>10}{'proxy':>10}{'added':>10}{'ratio':>9}")
    print(_row("first token", [direct for direct, _ in pairs], [through for _, through in pairs]))


if __name__ == "__main__":
    run()
