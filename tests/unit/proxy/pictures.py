"""Pictures for tests, made by a library that others use to make theirs."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image as Pillow


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48), colour: str = "red", **options: Any) -> bytes:
    """One colour all over."""
    buffer = io.BytesIO()
    Pillow.new("RGB", size, colour).save(buffer, kind, **options)
    return buffer.getvalue()


def encoded(data: bytes, media_type: str = "") -> str:
    """Base64, as a data: URI where a type is given."""
    text = base64.b64encode(data).decode()
    return f"data:{media_type};base64,{text}" if media_type else text
