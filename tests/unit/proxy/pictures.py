"""Pictures for tests, made by a library that others use to make theirs."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

from PIL import Image as Pillow


def picture(
    kind: str = "PNG",
    size: tuple[int, int] = (64, 48),
    colour: str | None = "red",
    mode: str = "RGB",
    **options: Any,
) -> bytes:
    """One colour all over, None = black."""
    buffer = io.BytesIO()
    Pillow.new(mode, size, colour or 0).save(buffer, kind, **options)
    return buffer.getvalue()


def encoded(data: bytes, media_type: str = "") -> str:
    """Base64, as a data: URI where a type is given."""
    text = base64.b64encode(data).decode()
    return f"data:{media_type};base64,{text}" if media_type else text


def swollen(size: int) -> bytes:
    """A PNG of one pixel, whose data unpacks to `size` zeros."""
    return png(1, 1, zlib.compress(bytes(size), 9))


def png(width: int, height: int, packed: bytes, *, interlaced: bool = False) -> bytes:
    """A PNG of eight bits in each of three colours."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    chunks = ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
