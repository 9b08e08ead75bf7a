"""Writes small GGUF files: a real head, and tensors' bytes that are all zero."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

Value = bool | int | str | list[str] | list[int]


def write_gguf(path: Path, *, tensor_bytes: int = 4096, values: Mapping[str, Value] | None = None) -> Path:
    """A GGUF file of a llama model with 32 layers, 8 KV heads of 128, one tensor of `tensor_bytes` at offset 1024."""
    metadata: dict[str, Value] = {
        "general.architecture": "llama",
        "llama.block_count": 32,
        "llama.embedding_length": 4096,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
        "tokenizer.ggml.tokens": ["<s>", "</s>", "word"],
    }
    metadata |= values or {}
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(metadata))
    head += b"".join(_text(name) + _value(value) for name, value in metadata.items())
    head += _text("token_embd.weight") + struct.pack("<IQIQ", 1, tensor_bytes // 4, 0, 1024)
    # Tensors begin at a multiple of 32 bytes, where nothing else is said.
    path.write_bytes(head + bytes(-len(head) % 32 + 1024 + tensor_bytes))
    return path


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if value and isinstance(value[0], int):
        return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(str(item)) for item in value)
