"""Pictures of text, read by the real tesseract (Debian's tesseract-ocr)."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest

from chatproxy.adapters.documents import Documents, Limits
from chatproxy.core.knowledge import Document, DocumentError
from tests.unit.proxy.adapters import document_files as files

PAGES = ["The boiler must be serviced\nevery twelve months.", "Emergency number: 555 0199"]


def parse(path: Path, limits: Limits | None = None, languages: str = "eng") -> Document:
    return Documents(limits, ocr_languages=languages).parse(path, "", path.name)


def words(document: Document) -> str:
    return " ".join(" ".join(block.text for block in document.blocks).split())


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp", "gif", "bmp"])
def test_a_picture_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sign.{suffix}"
    files.picture(PAGES[0]).save(path)
    assert words(parse(path)) == "The boiler must be serviced every twelve months."


def test_a_scanned_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    document = parse(files.scanned_pdf(tmp_path / "scan.pdf", PAGES))
    assert words(document) == "The boiler must be serviced every twelve months. Emergency number: 555 0199"
    assert [block.page for block in document.blocks] == [1, 2]


def test_a_figure_in_a_pdf_is_read_beside_its_text(tmp_path: Path) -> None:
    said = words(parse(files.figure_pdf(tmp_path / "figure.pdf", "Words as words.", "Words in a picture")))
    assert said == "Words as words. Words in a picture"


def test_a_picture_in_a_word_file_is_read(tmp_path: Path) -> None:
    import docx

    files.picture(PAGES[1]).save(tmp_path / "note.png")
    made = docx.Document()
    made.add_paragraph("Call us.")
    made.add_picture(str(tmp_path / "note.png"))
    made.save(str(tmp_path / "note.docx"))
    assert words(parse(tmp_path / "note.docx")) == "Call us. Emergency number: 555 0199"


def test_languages_that_are_not_installed_are_told_and_left_out(tmp_path: Path) -> None:
    files.picture(PAGES[1]).save(tmp_path / "note.png")
    document = parse(tmp_path / "note.png", languages="tlh+eng")
    assert words(document) == PAGES[1]
    assert document.warnings == ("pictures were read without tesseract's language tlh: it is not installed",)


def test_a_picture_without_text_is_an_empty_document(tmp_path: Path) -> None:
    files.picture("").save(tmp_path / "fog.png")
    with pytest.raises(DocumentError) as caught:
        parse(tmp_path / "fog.png")
    assert caught.value.code == "document_empty"


def test_a_picture_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("1", (30_000, 30_000)).save(tmp_path / "wall.png")
    with pytest.raises(DocumentError) as caught:
        parse(tmp_path / "wall.png")
    assert caught.value.code == "document_too_large"


def test_pictures_that_take_too_long_are_left_out_with_a_warning(tmp_path: Path) -> None:
    document = parse(files.scanned_pdf(tmp_path / "scan.pdf", PAGES * 20), Limits(wall_s=10))
    assert "The boiler" in words(document)
    assert any("were not read: there are too many" in each for each in document.warnings)


def test_tesseract_ends_with_the_reader_that_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # By this name its own tesseract is told from those of other tests.
    mark = tmp_path / "tessdata"
    mark.symlink_to(next(Path("/usr/share/tesseract-ocr").glob("*/tessdata")))
    monkeypatch.setenv("TESSDATA_PREFIX", str(mark))
    # More pages than any machine reads in the time, so that one is always being read when it is up.
    path = files.scanned_pdf(tmp_path / "scan.pdf", ["\n".join(["Many small words here"] * 8)] * 80)
    with contextlib.suppress(DocumentError):  # a fast machine has read some pages by then and keeps them
        assert any("were not read" in each for each in parse(path, Limits(wall_s=1.2)).warnings)
    time.sleep(0.2)
    assert _started_with(str(mark)) == []


def _started_with(value: str) -> list[str]:
    """Command lines of the processes that have `value` in their environment, but for this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if int(process.name) != os.getpid() and value.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
    return found
