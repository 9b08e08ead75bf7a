"""An image's head tells its kind and size; what it cannot be trusted with is refused."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL.Image import Exif

from chatproxy.core.images import MOST_PIXELS, before_all, check_unpacked, read_image, with_marks
from chatproxy.core.types import IMAGE_MARK, Image
from chatproxy.errors import InvalidRequest
from tests.unit.proxy.pictures import picture, png, swollen


@pytest.mark.parametrize(
    ("kind", "options", "media_type"),
    [
        ("PNG", {}, "image/png"),
        ("JPEG", {}, "image/jpeg"),
        ("JPEG", {"progressive": True, "comment": b"\xff\xc0 not a frame"}, "image/jpeg"),
        ("GIF", {}, "image/gif"),
    ],
)
def test_kind_and_size_are_read(kind: str, options: dict[str, Any], media_type: str) -> None:
    data = picture(kind, (321, 123), **options)
    assert read_image(data, "images[0]") == Image(media_type, 321, 123, data)


def test_a_preview_inside_of_a_jpeg_is_not_its_size() -> None:
    exif = Exif()
    exif[0x010E] = picture("JPEG", (5000, 5000)).decode("latin-1")[:60_000]
    data = picture("JPEG", (40, 30), exif=exif.tobytes())
    assert (read_image(data, "images").width, read_image(data, "images").height) == (40, 30)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "PNG, JPEG and GIF can"),
        (b"<svg/>", "PNG, JPEG and GIF can"),
        (picture("WEBP"), "is WebP"),
        (picture("BMP"), "PNG, JPEG and GIF can"),
        (picture()[:20], "does not tell its size"),
        (picture("JPEG")[:30], "does not tell its size"),
        (picture("GIF")[:8], "does not tell its size"),
        (b"GIF89a" + struct.pack("<HH", 0, 9), "does not tell its size"),
        (b"GIF89a" + struct.pack("<HH", 65535, 65535), "65535 x 65535 pixels"),
        (picture()[:16] + struct.pack(">II", 20_000, 10) + picture()[24:], "20000 x 10 pixels"),
        (picture()[:16] + struct.pack(">II", 2**32 - 1, 2**32 - 1), f"at most {MOST_PIXELS}"),
    ],
)
def test_what_is_no_image_or_too_large_is_refused_by_its_name(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_image(data, "images[3]")
    assert caught.value.public.startswith("images[3]: ") and reason in caught.value.public


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (100, 33)])
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_what_a_png_holds_is_as_much_as_its_pixels_take(mode: str, size: tuple[int, int]) -> None:
    check_unpacked([read_image(picture("PNG", size, colour=None, mode=mode), "images")])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (swollen(1 << 20), "images: holds more than its 1 x 1 pixels"),
        (png(1, 1, zlib.compress(bytes(4))[:-6]), "images: ends too early"),
        (png(1, 1, b"not packed"), "images: cannot be unpacked"),
        (picture()[:26], "images: ends too early"),
    ],
)
def test_a_png_that_unpacks_to_something_else_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        check_unpacked([read_image(data, "x")])


@pytest.mark.parametrize(("size", "unpacked"), [((1, 1), 4), ((9, 7), 203), ((5, 1), 19), ((2, 3), 23)])
def test_an_interlaced_png_has_its_lines_by_pass(size: tuple[int, int], unpacked: int) -> None:
    check_unpacked([read_image(png(*size, zlib.compress(bytes(unpacked)), interlaced=True), "x")])
    with pytest.raises(InvalidRequest, match="holds more"):
        check_unpacked([read_image(png(*size, zlib.compress(bytes(unpacked + 1)), interlaced=True), "x")])


def test_a_jpeg_that_is_gone_over_again_and_again_is_refused() -> None:
    data = picture("JPEG")
    scan = data.index(b"\xff\xda")
    data = data[:-2] + data[scan : scan + 14] * 1000 + data[-2:]
    with pytest.raises(InvalidRequest, match="more than 32 scans"):
        read_image(data, "images")


def test_what_stands_behind_a_jpeg_or_in_its_segments_is_no_scan_of_it() -> None:
    data = picture("JPEG", progressive=True, comment=b"\xff\xda\x00\x02" * 100) + b"\xff\xda\x00\x02" * 100
    assert read_image(data, "images").media_type == "image/jpeg"


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a"]))
@example(b"\xff" * 100, b"\xff\xd8\xff")
@example(b"\xe0\x00\x00" * 50, b"\xff\xd8\xff")
def test_any_bytes_are_read_or_refused(tail: bytes, head: bytes) -> None:
    try:
        image = read_image(head + tail, "images")
        check_unpacked([image])
    except InvalidRequest:
        return
    assert image.width * image.height <= MOST_PIXELS


def test_images_stand_before_the_text_that_shows_them() -> None:
    image = Image("image/png", 1, 1, b"x")
    assert with_marks([image, image], "What?") == f"{IMAGE_MARK}\n{IMAGE_MARK}\nWhat?"


def test_a_prompt_taken_as_it_stands_has_no_marks_but_ours() -> None:
    image = Image("image/png", 1, 1, b"x")
    memory, prompt = before_all([image], f"M{IMAGE_MARK}", f"P{IMAGE_MARK}")
    assert (memory + prompt).count(IMAGE_MARK) == 1 and memory.startswith(IMAGE_MARK)
    assert before_all([image], "", "P") == ("", f"{IMAGE_MARK}\nP")
    assert before_all([], "M", f"P{IMAGE_MARK}") == ("M", f"P{IMAGE_MARK}")
