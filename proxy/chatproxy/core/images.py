"""Images that are asked with: read as far as their size, and given their places in a prompt.

An image is decoded by the engine, whose decoder (stb_image in llama.cpp and in koboldcpp) knows PNG, JPEG and GIF, of
which it takes the first frame, but not WebP. Here so much is read that nobody can fill the engine's memory or keep its
processor busy: the size in the head; of a PNG what its data really unpacks to, since that decoder unpacks all of it,
whatever the head says; of a JPEG how often its picture is gone over, since each scan may cost as much as a whole one.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence

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
_SCAN, _END = 0xDA, 0xD9
# The next marker behind a scan's data, in which FF is followed by 00 or by a restart marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# A progressive JPEG has about ten; three thousand fit into a few kilobytes.
_MOST_SCANS = 32
# Channels by PNG's colour type; where each of the seven passes of an interlaced one begins and how far it steps (ISO
# 15948, 11.2.2 and 8.2).
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# Packed data is unpacked piece by piece: 16 KiB become 16 MiB at most, which are looked at a megabyte at a time.
_PACKED, _UNPACKED = 1 << 14, 1 << 20


def read_image(data: bytes, name: str) -> Image:
    """The image in `data`. Raises InvalidRequest, `name` in front, for what is none, too large or of another kind.

    Whether a PNG unpacks to what its head says, `check_unpacked` tells: that takes time, so only who may ask gets it.
    """
    media_type, size = _head(data, name)
    if size is None or 0 in size:
        raise InvalidRequest(f"{name}: does not tell its size; the file is damaged")
    width, height = size
    if width * height > MOST_PIXELS or max(size) > _LONGEST_SIDE:
        raise InvalidRequest(f"{name}: has {width} x {height} pixels, at most {MOST_PIXELS} are taken; make it smaller")
    if media_type == "image/jpeg" and _scans(data) > _MOST_SCANS:
        raise InvalidRequest(f"{name}: has more than {_MOST_SCANS} scans; save it as an ordinary JPEG")
    return Image(media_type, width, height, data)


def check_unpacked(images: Sequence[Image], name: str = "images") -> None:
    """Raises InvalidRequest for a PNG whose data unpacks to more than its pixels, or not at all; half a second at most
    for each."""
    for image in images:
        if image.media_type == "image/png" and image.data:
            _check_png(image.data, image.width, image.height, name)


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


def _scans(data: bytes) -> int:
    """How many scans a JPEG has, counted no further than one too many; what a segment holds does not count."""
    place, scans = 2, 0
    while scans <= _MOST_SCANS and (found := _MARKER.search(data, place)):
        marker = found[0][1]
        if marker == _END:
            break
        scans += marker == _SCAN
        place = found.end() + (0 if marker in _ALONE else int.from_bytes(data[found.end() : found.end() + 2], "big"))
    return scans


def _check_png(data: bytes, width: int, height: int, name: str) -> None:
    """Raises InvalidRequest where the data unpacks to more than the picture, or not at all."""
    most = _png_bytes(width, height, *data[24:26], interlaced=data[28:29] != b"\0")
    unpacker, unpacked = zlib.decompressobj(), 0
    try:
        for piece in _packed(data):
            rest = piece
            while rest and not unpacker.eof:
                unpacked += len(unpacker.decompress(rest, _UNPACKED))
                if unpacked > most:
                    raise InvalidRequest(f"{name}: holds more than its {width} x {height} pixels; the file is damaged")
                rest = unpacker.unconsumed_tail
    except zlib.error:
        raise InvalidRequest(f"{name}: cannot be unpacked; the file is damaged") from None
    if not unpacker.eof:
        raise InvalidRequest(f"{name}: ends too early; the file is damaged")


def _png_bytes(width: int, height: int, depth: int = 0, colour: int = 0, *, interlaced: bool) -> int:
    """What the data of a PNG unpacks to: the lines of each pass, with one byte in front that tells their filter."""
    bits = depth * _CHANNELS.get(colour, 0)
    size = 0
    for x, y, right, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, lines = -(-(width - x) // right), -(-(height - y) // down)
        if columns > 0 and lines > 0:
            size += lines * (1 + (columns * bits + 7) // 8)
    return size


def _packed(data: bytes) -> Iterator[bytes]:
    """What a PNG's IDAT chunks hold, in small pieces."""
    place = len(_PNG)
    while place + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind == b"IEND":
            return
        place += 8
        if kind == b"IDAT":
            for start in range(place, min(place + length, len(data)), _PACKED):
                yield data[start : min(start + _PACKED, place + length)]
        place += length + 4
