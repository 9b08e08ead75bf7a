"""Images in requests: base64, bare or as a data: URI (RFC 2397). Nothing is ever fetched from an address."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from typing import Any

from chatproxy.core.images import read_image
from chatproxy.core.types import Image
from chatproxy.errors import InvalidRequest

# Of one question; a client that keeps the conversation itself sends those of earlier ones along.
MOST, _MOST_ALONG = 4, 16
# Decoded. MAX_BODY bounds them all together; a document of MongoDB holds 16 MiB.
_LARGEST = 8 << 20
_DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{0,20}:", re.IGNORECASE)


def read_images(value: Any, name: str) -> tuple[Image, ...]:
    """The images of one question; null counts as none. Raises InvalidRequest naming what is wrong."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MOST:
        raise InvalidRequest(f"{name}: must be a list of at most {MOST} images")
    return tuple(image_in(item, f"{name}[{number}]") for number, item in enumerate(value))


def image_in(value: Any, name: str) -> Image:
    """One image. Raises InvalidRequest with `name` in front."""
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{name}: must be text: base64, or a data: URI with base64 in it")
    uri = _DATA_URI.match(value)
    if not uri and _ADDRESS.match(value):
        raise InvalidRequest(f"{name}: must hold the image itself, as base64 or a data: URI; no address is fetched")
    encoded = value[uri.end() if uri else 0 :]
    if len(encoded) > _LARGEST * 4 // 3 + 4:
        raise InvalidRequest(f"{name}: is larger than {_LARGEST >> 20} MiB")
    try:
        data = binascii.a2b_base64("".join(encoded.split()), strict_mode=True)
    except ValueError:
        raise InvalidRequest(f"{name}: is not base64") from None
    return read_image(data, name)


def check_together(images: Sequence[Sequence[Image]], name: str) -> None:
    """Of a whole conversation. Raises InvalidRequest for too many."""
    count = sum(len(some) for some in images)
    if count > _MOST_ALONG:
        raise InvalidRequest(f"{name}: hold {count} images, at most {_MOST_ALONG} are taken")
