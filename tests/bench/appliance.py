"""What the benchmarks run against: mongod, llama.cpp and the proxy as gunicorn runs it, on loopback, without Docker."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests

from scripts.lib.fetch import fetch_model
from scripts.lib.native import ROOT, NativeStack
from tests.integration.proxy.conftest import Proxy, running_proxy

# What bots say of themselves; the longest answer is each benchmark's own.
SYSTEM = "You are a helpful assistant. Answer in the language of the question, briefly and in plain words."


@contextlib.contextmanager
def services(*names: str, slots: int = 2, context_size: int = 4096) -> Iterator[NativeStack]:
    """Those of the appliance's services that a benchmark needs (`mongo`, `engine`), with the starter model."""
    model = fetch_model("smollm2-135m-instruct", ROOT / "models", python=sys.executable)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        stack = NativeStack(Path(folder), model, slots=slots, context_size=context_size)
        try:
            for name in names:
                stack.start(name)
            yield stack
        finally:
            stack.close()


@contextlib.contextmanager
def proxy(stack: NativeStack, *, bots: Mapping[str, int], system: str = SYSTEM, **settings: str) -> Iterator[Proxy]:
    """The proxy on a free port; `bots` are made for it: name -> longest answer in tokens. `system` is one line."""
    folder = Path(tempfile.mkdtemp(dir=stack.data))
    (folder / "bots").mkdir()
    for name, tokens in bots.items():
        text = f"name: {name}\nsystem: {system}\nsampling: factual\nmax_tokens: {tokens}\n"
        (folder / "bots" / f"{name}.yaml").write_text(text)
    with running_proxy(stack, folder, **settings) as running:
        yield running


def engine_is_idle(url: str) -> bool:
    """Whether none of the slots of llama.cpp (or of what speaks like it) is at work."""
    return not any(slot["is_processing"] for slot in requests.get(f"{url}/slots", timeout=30).json())


def gate(proxy: Proxy) -> tuple[int, int]:
    """How many generate and how many wait, as /readyz tells."""
    engine: dict[str, Any] = proxy.ready()[1]["engine"]
    return engine["busy"], engine["waiting"]
