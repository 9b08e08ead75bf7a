"""What a model file tells about its model: chat template, control tokens, context length."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from chatproxy.core.fitting import Shape
from chatproxy.core.models import ModelFacts
from chatproxy.errors import ConfigurationError

_MAGIC = b"GGUF"
# The largest vocabularies in use (262,144 tokens) need 100 MB and 2 seconds; a small container has 512 MB.
_MEMORY_BYTES = 320 << 20
_CPU_S = 30
_WALL_S = 120.0
# numpy's linear algebra would set memory aside for each core of the machine.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}


def read_model(path: Path, *, called: str = "") -> ModelFacts | None:
    """Read a GGUF file's metadata; None for a file of another kind (GGML files have none).

    `called` is how errors name the file; else it is the one in MODEL_FILE. Raises ConfigurationError where the file is
    not there, damaged, or asks for more memory and time than any model needs.
    """
    called = called or f"MODEL_FILE={str(path)!r}"
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return None
    except OSError as error:
        raise ConfigurationError(f"{called} cannot be read: {error.strerror}") from None
    # A child process: numpy's memory goes back, and what a hostile file does to the reader stays there.
    child = Path(__file__).with_name("gguf_head.py")
    words = [sys.executable, "-I", str(child), str(path), str(_MEMORY_BYTES), str(_CPU_S)]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=_WALL_S, check=False, env=_ENVIRONMENT)
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"{called} could not be read within {_WALL_S:.0f} s") from None
    if ended.returncode != 0:
        reason = (ended.stderr.strip().splitlines() or [f"its reader ended with {ended.returncode}"])[-1]
        raise ConfigurationError(f"{called} cannot be read: {reason[:300]}")
    return _facts(json.loads(ended.stdout))


def _facts(fields: dict[str, Any]) -> ModelFacts:
    tokens: dict[str, Any] = {name: tuple(fields[name]) for name in ("control", "user_defined")}
    return ModelFacts(**{**fields, **tokens, "shape": Shape.of(fields["shape"])})
