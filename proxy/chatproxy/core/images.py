"""Images that are asked with: read as far as their size, and given their places in a prompt.

Only the head of an image is read here; it is decoded by the engine, whose decoder (stb_image in llama.cpp and in
koboldcpp) knows PNG, JPEG and GIF, of which it takes the first frame, but not WebP. What the head says of its size is
what that decoder goes by, so an image that would fill the engine's memory is refused before it gets there.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from chatproxy.core.types import IMAGE_MARK, Image
from chatproxy.errors import InvalidRequest

# As core.neutral breaks it.
_BROKEN = f"{IMAGE_MARK[0]} {IMAGE_MARK[1:]}"
# Decoded an image takes three bytes a pixel, and the engine scales a copy of it. Today's phones take 12 to 24 million.
MOST_PIXELS = 25_000_000
_LONGEST_SIDE = 16_384
_PNG, _JPEG, _GIFS = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", (b"GIF87a", b"GIF89a")
# JPEG's markers of a frame (ITU T.81, table B.1): C0 to CF without DHT, JPG and DAC; and those that have no length.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN = 0xDA


def read_image(data: bytes, name: str) -> Image:
    """The image in `data`. Raises InvalidRequest, `name` in front, for what is none, too large or of another kind."""
    media_type, size = _head(data, name)
    if size is None or 0 in size:
        raise InvalidRequest(f"{name}: does not tell its size; the file is damaged")
    width, height = size
    if width * height > MOST_PIXELS or max(size) > _LONGEST_SIDE:
        raise InvalidRequest(f"{name}: has {width} x {height} pixels, at most {MOST_PIXELS} are taken; make it smaller")
    return Image(media_type, width, height, data)


def with_marks(images: Sequence[Image], text: str) -> str:
    """`text` behind the marks of `images`, each on a line of its own: vision models were trained on that order."""
    return "".join(f"{IMAGE_MARK}\n" for _ in images) + text


def before_all(images: Sequence[Image], memory: str, prompt: str) -> tuple[str, str]:
    """A prompt that is taken as it stands, with the marks of `images` at its beginning and none besides."""
    if not images:
        return memory, prompt
    memory, prompt = (text.replace(IMAGE_MARK, _BROKEN) for text in (memory, prompt))
    return (with_marks(images, memory), prompt) if memory else ("", with_marks(images, prompt))


def _head(data: bytes, name: str) -> tuple[str, tuple[int, int] | None]:
    if data.startswith(_PNG):
        # IHDR is the first chunk of every PNG (ISO 15948, 5.6): its length, its name, width, height.
        there = data[12:16] == b"IHDR" and len(data) >= 24
        return "image/png", struct.unpack(">II", data[16:24]) if there else None
    if data.startswith(_GIFS):
        return "image/gif", struct.unpack("<HH", data[6:10]) if len(data) >= 10 else None
    if data.startswith(_JPEG):
        return "image/jpeg", _jpeg_size(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        raise InvalidRequest(f"{name}: is WebP, which no engine here reads; send it as PNG or JPEG")
    raise InvalidRequest(f"{name}: is no image that can be read here; PNG, JPEG and GIF can")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Of the first frame, segment by segment: a preview inside of a segment does not count."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # any number of these may stand in front of a marker
            place += 1
        elif marker in _ALONE:
            place += 2
        elif marker == _SCAN:
            return None
        elif marker in _FRAMES:
            frame = data[place + 5 : place + 9]
            return (frame[2] << 8 | frame[3], frame[0] << 8 | frame[1]) if len(frame) == 4 else None
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None
