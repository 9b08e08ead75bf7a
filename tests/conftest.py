"""The real services, started once for the whole run on free loopback ports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.lib.native import ROOT, NativeStack

STARTER_MODEL = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """The catalogue's starter model, fetched as `make up` fetches it."""
    from scripts.lib.fetch import fetch_model

    return fetch_model("smollm2-135m-instruct", ROOT / "models", python=sys.executable)


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory, starter_model: Path) -> Iterator[NativeStack]:
    stack = NativeStack(tmp_path_factory.mktemp("native"), starter_model)
    try:
        stack.start()
        yield stack
    finally:
        stack.close()
