"""Reads the head of a GGUF file: enough to tell a whole file from a half one and to reckon its context's memory.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
#: Nothing in a head is longer than this, in bytes; a larger number means that these are not the bytes of a head.
_SANE = 1 << 28
#: Nor has any so many fields, tensors, or texts in a list (the largest vocabularies have 262,144).
_MOST_FIELDS, _MOST_TENSORS, _MOST_TEXTS = 1 << 16, 1 << 17, 1 << 22

#: ggml knows four.
_DIMENSIONS = 8
#: Where the tensors begin, and each of them, unless the file says otherwise, in bytes.
_ALIGNMENT = 32
#: type:elements in a block/bytes of a block, of tensors: ggml_type_traits in ggml.c.
_TYPES = (
    "0:1/4 1:1/2 2:32/18 3:32/20 6:32/22 7:32/24 8:32/34 9:32/36 10:256/84 11:256/110 12:256/144 13:256/176 "
    "14:256/210 15:256/292 16:256/66 17:256/74 18:256/98 19:256/50 20:32/18 21:256/110 22:256/82 23:256/136 "
    "24:1/1 25:1/2 26:1/4 27:1/8 28:1/8 29:256/56 30:1/2 34:256/54 35:256/66 39:32/17"
)
_BLOCKS = {
    int(kind): (int(elements), int(size))
    for kind, elements, size in (re.split("[:/]", each) for each in _TYPES.split())
}

#: A list of numbers longer than this is no list of layers, but a vocabulary's.
_LAYERS = 1024

Value = int | float | bool | str | tuple[int | float | bool, ...]


class BrokenFileError(Exception):
    """The file ends too early or holds what no GGUF file holds."""


@dataclass(frozen=True)
class Head:
    """A GGUF file's head.

    Attributes:
        values: its metadata; of lists, those with a number for each layer as they are, of others the length.
        least_size: bytes that the file has at least: where its last tensor ends, as far as its type is known.
        tensors: how many it has.
    """

    values: Mapping[str, Value]
    least_size: int
    tensors: int = 0

    def context_bytes(self, tokens: int) -> int | None:
        """Memory of the KV cache for so many tokens in 16 bits; None where the metadata does not tell."""
        architecture = self.values.get("general.architecture")
        layers = self._number(f"{architecture}.block_count")
        heads = self._number(f"{architecture}.attention.head_count")
        width = self._number(f"{architecture}.embedding_length")
        if not layers or not heads or not width:
            return None
        name = f"{architecture}.attention.head_count_kv"
        told = self.values.get(name)
        kv_heads = sum(map(int, told)) if isinstance(told, tuple) else layers * (self._number(name) or heads)
        key = self._number(f"{architecture}.attention.key_length") or width // heads
        value = self._number(f"{architecture}.attention.value_length") or width // heads
        return tokens * kv_heads * (key + value) * 2

    @property
    def trained_context(self) -> int | None:
        """The context that the model was trained with, in tokens."""
        return self._number(f"{self.values.get('general.architecture')}.context_length")

    def _number(self, name: str) -> int | None:
        value = self.values.get(name)
        if isinstance(value, tuple):
            return max(map(int, value), default=None)
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
        if tensors > _MOST_TENSORS or pairs > _MOST_FIELDS:
            raise BrokenFileError("its head is damaged")
        values: dict[str, Value] = {}
        for _ in range(pairs):
            name = reader.text()
            values[name] = reader.value(reader.number("I"))
        last_end = max((reader.tensor_end() for _ in range(tensors)), default=0)
        alignment = values.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0:
            raise BrokenFileError(f"its alignment is {alignment}")
        return Head(values, -(-file.tell() // alignment) * alignment + last_end, tensors)


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

    def value(self, kind: int) -> Value:
        if kind == _STRING:
            return self.text()
        return self._list() if kind == _ARRAY else self._scalar(kind)

    def _scalar(self, kind: int) -> int | float | bool:
        code = "<" + self._code(kind)
        (scalar,) = struct.unpack(code, self.take(struct.calcsize(code)))
        return scalar  # type: ignore[no-any-return]

    def _code(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise BrokenFileError("its head is damaged")
        return _SCALARS[kind]

    def _list(self) -> Value:
        """Short lists of whole numbers; of others, whose items are passed over, the length. llama.cpp reads no lists of
        lists."""
        kind, count = self.number("I"), self.number("Q")
        if kind == _STRING and count <= _MOST_TEXTS:
            for _ in range(count):
                self.take(self.number("Q"))
            return count
        code = self._code(kind)
        data = self.take(count * struct.calcsize("<" + code))
        return struct.unpack(f"<{count}{code}", data) if count <= _LAYERS and code not in "fd" else count

    def tensor_end(self) -> int:
        """Where the next tensor ends, counted from the place where the first one begins."""
        self.text()
        dimensions = self.number("I")
        if dimensions > _DIMENSIONS:
            raise BrokenFileError("its head is damaged")
        elements = math.prod(self.number("Q") for _ in range(dimensions))
        kind, offset = self.number("I"), self.number("Q")
        # Of a type that is newer than this table at least the first byte has to be there.
        per_block, size = _BLOCKS.get(kind, (max(elements, 1), 1))
        return offset + -(-elements // per_block) * size
