"""Text in pictures, by tesseract."""

from __future__ import annotations

import csv
import functools
import io
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO

from PIL import Image, ImageSequence, UnidentifiedImageError

from chatproxy.adapters.documents_reading import Reading
from chatproxy.core.knowledge import Block, Document, DocumentError

_LONGEST_S = 90.0
_SHARE_OF_LAST = 0.15  # of the whole time, what the last picture may take of what is left for text
_LEAST_CONFIDENCE = 45.0  # of 100, a paragraph's mean: below it is not text but pattern
_LEAST_LETTERS = 3
_MOST_PIXELS = 60_000_000
_MOST_DOTS = 12_000_000
_SMALL_HEIGHT = 1000  # photographs of screens: tesseract wants letters of 20 dots and more
_WORD_LEVEL = "5"


@dataclass(frozen=True, slots=True)
class Greys:
    """A picture, a byte a dot, from the upper left corner."""

    width: int
    height: int
    dots: bytes

    @property
    def pgm(self) -> bytes:
        return b"P5\n%d %d\n255\n%s" % (self.width, self.height, self.dots)


def read_image(reading: Reading) -> Document:
    """See documents_child; a picture of several pages page by page."""
    Image.MAX_IMAGE_PIXELS = _MOST_PIXELS
    try:
        blocks: list[Block] = []
        with Image.open(reading.path) as opened:
            for number, frame in enumerate(ImageSequence.Iterator(opened), 1):
                if reading.seconds_for_pictures() <= 0:
                    reading.warn(f"pictures from page {number} on were not read: there are too many of them")
                    break
                if number > 1 and opened.format in ("GIF", "WEBP", "PNG"):
                    break  # an animation
                texts = read_picture(reading, _greys(frame), f"page {number}")
                blocks.extend(Block("text", text, page=number) for text in texts)
    except Image.DecompressionBombError:
        raise DocumentError("document_too_large", "The picture has too many pixels to be read.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise DocumentError("document_broken", "The picture is damaged or was not copied as a whole.") from None
    return Document(reading.stem, tuple(blocks), warnings=tuple(reading.warnings))


def greys_of(file: BinaryIO) -> Greys | None:
    """A picture's first page; None for what cannot be read as one (vector pictures among it)."""
    Image.MAX_IMAGE_PIXELS = _MOST_PIXELS
    try:
        with Image.open(file) as opened:
            return _greys(opened)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        return None


def _greys(frame: Image.Image) -> Greys:
    if frame.width * frame.height > _MOST_PIXELS:
        raise Image.DecompressionBombError
    if frame.mode in ("RGBA", "LA", "PA") or "transparency" in frame.info:
        white = Image.new("RGBA", frame.size, "white")
        white.alpha_composite(frame.convert("RGBA"))
        frame = white
    grey = frame.convert("L")
    scale = min((_MOST_DOTS / (grey.width * grey.height)) ** 0.5, 2.0 if grey.height < _SMALL_HEIGHT else 1.0)
    if scale != 1.0:
        grey = grey.resize((max(1, round(grey.width * scale)), max(1, round(grey.height * scale))))
    return Greys(grey.width, grey.height, grey.tobytes())


def read_picture(reading: Reading, picture: Greys, where: str) -> Iterator[str]:
    """The paragraphs in a picture; `where` names it in the warning if it cannot be read."""
    languages = _languages(reading)
    if not languages:
        reading.warn("pictures were not read: tesseract is not installed")
        return
    words = ["tesseract", "stdin", "stdout", "-l", languages, "--psm", "3", "tsv"]
    most_s = min(_LONGEST_S, max(0.0, reading.seconds_for_pictures()) + reading.wall_s * _SHARE_OF_LAST)
    try:
        ended = subprocess.run(words, input=picture.pgm, capture_output=True, timeout=most_s, check=True)
    except (subprocess.SubprocessError, OSError):
        reading.warn(f"a picture on {where} could not be read")
        return
    rows = csv.DictReader(io.StringIO(ended.stdout.decode("utf-8", "replace")), delimiter="\t", quoting=csv.QUOTE_NONE)
    found = [row for row in rows if row["level"] == _WORD_LEVEL and (row["text"] or "").strip()]
    for _, group in groupby(found, key=lambda row: (row["block_num"], row["par_num"])):
        paragraph = list(group)
        sure = sum(float(row["conf"]) for row in paragraph) / len(paragraph)
        lines = [
            " ".join(row["text"] for row in line) for _, line in groupby(paragraph, key=lambda row: row["line_num"])
        ]
        text = "\n".join(lines)
        if sure >= _LEAST_CONFIDENCE and sum(sign.isalnum() for sign in text) >= _LEAST_LETTERS:
            yield text


def _languages(reading: Reading) -> str:
    """Those wanted that are installed, joined by `+`; empty where tesseract is not installed."""
    installed = _installed()
    wanted = reading.ocr_languages.split("+")
    missing = [each for each in wanted if each not in installed]
    if installed and missing:
        reading.warn(f"pictures were read without tesseract's language {', '.join(missing)}: it is not installed")
    return "+".join(each for each in wanted if each in installed) or ("eng" if "eng" in installed else "")


@functools.cache
def _installed() -> frozenset[str]:
    words = ["tesseract", "--list-langs"]
    try:
        listed = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return frozenset()
    return frozenset(listed.splitlines()[1:])
