"""Vectors as lines of JSON: {"id", "vector"}, the numbers as base64 of little-endian 32-bit floats.

That is what Chroma keeps, so nothing is rounded, and half of what they take as decimal numbers. The first line tells
whose they are: {"model", "whole", "vector": "base64 of float32"}.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any


def head(model: str) -> bytes:
    return _line({"model": model, "whole": True, "vector": "base64 of float32, little-endian"})


def line(key: str, numbers: bytes) -> bytes:
    """One vector, as `packed` gives it."""
    return _line({"id": key, "vector": base64.b64encode(numbers).decode()})


def read(text: bytes) -> tuple[str, bytes]:
    """What `line` wrote. Raises ValueError."""
    told = json.loads(text)
    if not isinstance(told, dict) or not isinstance(told.get("id"), str) or not isinstance(told.get("vector"), str):
        raise ValueError("no vector")  # noqa: TRY004 - what the text is, not its type
    numbers = base64.b64decode(told["vector"], validate=True)
    if not numbers or len(numbers) % 4:
        raise ValueError("no vector")
    return told["id"], numbers


def packed(vector: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(vector)}f", *vector)


def unit(vector: Sequence[float]) -> Sequence[float]:
    """The same direction with length 1, as Chroma keeps vectors that are compared by their cosine."""
    length = math.sqrt(math.fsum(number * number for number in vector))
    return [number / length for number in vector] if length else vector


def unpacked(numbers: bytes) -> Sequence[float]:
    return struct.unpack(f"<{len(numbers) // 4}f", numbers)


def _line(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"
