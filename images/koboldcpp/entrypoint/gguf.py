"""Reads the head of a GGUF file: enough to tell a whole file from a half one and to reckon its context's memory.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
#: Nothing in a head is longer than this; a larger number means that these are not the bytes of a head.
_SANE = 1 << 28

Value = int | float | bool | str


class BrokenFileError(Exception):
    """The file ends too early or holds what no GGUF file holds."""


@dataclass(frozen=True)
class Head:
    """A GGUF file's head.

    Attributes:
        values: its metadata without the arrays.
        least_size: bytes that the file has at least, by the place of its last tensor.
    """

    values: Mapping[str, Value]
    least_size: int

    def context_bytes(self, tokens: int) -> int | None:
        """Memory of the KV cache for so many tokens in 16 bits; None where the metadata does not tell."""
        architecture = self.values.get("general.architecture")
        layers = self._number(f"{architecture}.block_count")
        heads = self._number(f"{architecture}.attention.head_count")
        width = self._number(f"{architecture}.embedding_length")
        if not layers or not heads or not width:
            return None
        kv_heads = self._number(f"{architecture}.attention.head_count_kv") or heads
        key = self._number(f"{architecture}.attention.key_length") or width // heads
        value = self._number(f"{architecture}.attention.value_length") or width // heads
        return tokens * layers * kv_heads * (key + value) * 2

    @property
    def trained_context(self) -> int | None:
        """The context that the model was trained with, in tokens."""
        return self._number(f"{self.values.get('general.architecture')}.context_length")

    def _number(self, name: str) -> int | None:
        value = self.values.get(name)
        return value if isinstance(value, int) else None


def read_head(path: Path) -> Head:
    """Read a GGUF file's head.

    Raises:
        BrokenFileError: it is cut off inside the head, or damaged.
    """
    with path.open("rb") as file:
        reader = _Reader(file)
        reader.take(len(MAGIC))
        version = reader.number("I")
        if version not in (2, 3):
            raise BrokenFileError(f"GGUF version {version} is not one that can be read")
        tensors, pairs = reader.number("Q"), reader.number("Q")
        if tensors > _SANE or pairs > _SANE:
            raise BrokenFileError("its head is damaged")
        values: dict[str, Value] = {}
        for _ in range(pairs):
            name = reader.text()
            value = reader.value(reader.number("I"))
            if value is not None:
                values[name] = value
        last_offset = max((reader.tensor_offset() for _ in range(tensors)), default=0)
        return Head(values, file.tell() + last_offset)


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def take(self, size: int) -> bytes:
        data = self.file.read(size) if size <= _SANE else b""
        if len(data) < size:
            raise BrokenFileError("it ends inside its head")
        return data

    def number(self, code: str) -> int:
        return int(struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0])

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", "replace")

    def value(self, kind: int) -> Value | None:
        """The value, or None for an array, whose items are passed over."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            self._skip_array()
            return None
        if kind not in _SCALARS:
            raise BrokenFileError("its head is damaged")
        code = "<" + _SCALARS[kind]
        scalar: Value = struct.unpack(code, self.take(struct.calcsize(code)))[0]
        return scalar

    def _skip_array(self) -> None:
        kind, count = self.number("I"), self.number("Q")
        if count > _SANE:
            raise BrokenFileError("its head is damaged")
        if kind in _SCALARS:
            self.take(count * struct.calcsize("<" + _SCALARS[kind]))
            return
        for _ in range(count):
            self.value(kind)

    def tensor_offset(self) -> int:
        self.text()
        dimensions = self.number("I")
        self.take(8 * dimensions + 4)
        return self.number("Q")
