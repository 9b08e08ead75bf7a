"""Files that are broken or mean harm: each gets a typed answer within its limits, and the parent stays as it was."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatproxy.adapters.documents import Documents, Limits
from chatproxy.core.knowledge import Document, DocumentError
from tests.unit.proxy.adapters import document_files as files

GB = 1 << 30
BOMB = 200 << 20
SMALL = Limits(cpu_s=20, wall_s=40)
TYPES = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'


def code_of(path: Path, limits: Limits = SMALL) -> str:
    with pytest.raises(DocumentError) as caught:
        Documents(limits).parse(path, "", path.name)
    assert caught.value.public.endswith((".", "?"))
    return caught.value.code


def saved(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def parent_as_before() -> Iterator[None]:
    """No process, descriptor or thread is left, whatever happened to the child."""
    gc.collect()  # what an earlier test dropped may not close while this one counts
    descriptors, threads = _descriptors(), threading.active_count()
    yield
    assert _descriptors() <= descriptors
    assert threading.active_count() <= threads
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [child for child in children if "documents_child" in _command(child)]


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _command(process_id: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process_id}/cmdline").read_text()
    return ""


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    assert code_of(saved(tmp_path, "empty.pdf", b"")) == "document_empty"


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    assert code_of(tmp_path / "gone.pdf") == "document_broken"


def test_a_file_without_a_word_says_so(tmp_path: Path) -> None:
    assert code_of(saved(tmp_path, "blank.txt", b" \n\t\n")) == "document_empty"
    assert code_of(files.raw_pdf(tmp_path / "blank.pdf", b"")) == "document_empty"
    assert code_of(saved(tmp_path, "blank.html", b"<html><body><script>1</script></body></html>")) == "document_empty"


@pytest.mark.parametrize(
    ("name", "part"),
    [("a.docx", "word/document.xml"), ("a.xlsx", "xl/workbook.xml"), ("a.pptx", "ppt/presentation.xml")],
)
def test_a_zip_bomb_in_an_office_file_is_refused_unopened(tmp_path: Path, name: str, part: str) -> None:
    bomb = files.zeros(tmp_path / name, part, BOMB, {"[Content_Types].xml": TYPES})
    assert bomb.stat().st_size < 1 << 20
    began = time.monotonic()
    assert code_of(bomb) == "document_too_large"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("name", "part", "declared"),
    [
        ("a.epub", "OEBPS/a.xhtml", "application/epub+zip"),
        ("a.odt", "content.xml", "application/vnd.oasis.opendocument.text"),
    ],
)
def test_a_zip_bomb_in_a_book_or_a_text_is_refused_unopened(
    tmp_path: Path, name: str, part: str, declared: str
) -> None:
    assert code_of(files.zeros(tmp_path / name, part, BOMB, {"mimetype": declared})) == "document_too_large"


def test_drawings_and_other_xml_are_named(tmp_path: Path) -> None:
    assert code_of(saved(tmp_path, "a.svg", b'<?xml version="1.0"?><svg/>')) == "document_unsupported"


def test_a_zip_that_lies_about_its_sizes_is_read_no_further_than_it_says(tmp_path: Path) -> None:
    declared = {"mimetype": "application/vnd.oasis.opendocument.text"}
    assert code_of(files.lying_zip(tmp_path / "a.odt", "content.xml", BOMB, declared)) in (
        "document_broken",
        "document_too_large",
    )


def test_a_pdf_that_unpacks_to_gigabytes_ends_within_its_limits(tmp_path: Path) -> None:
    bomb = files.nested_flate_pdf(tmp_path / "bomb.pdf", GB)
    assert bomb.stat().st_size < 1 << 20
    assert code_of(bomb) in ("document_too_large", "document_broken", "document_timed_out", "document_empty")


def test_a_pdf_with_a_page_of_a_square_kilometre_is_drawn_small(tmp_path: Path) -> None:
    path = files.raw_pdf(tmp_path / "wide.pdf", b"0 0 m 9 9 l S", media=b"0 0 2834645 2834645")
    assert code_of(path) == "document_empty"


LAUGHS = "".join(f'<!ENTITY l{at} "{f"&l{at - 1};" * 10}">' for at in range(1, 12))
BILLION = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]>'


def test_a_billion_laughs_stay_unlaughed(tmp_path: Path) -> None:
    office = "urn:oasis:names:tc:opendocument:xmlns"
    text = (
        f'{BILLION}<o:document-content xmlns:o="{office}:office:1.0" xmlns:t="{office}:text:1.0">'
        "<o:body><t:p>&l11;</t:p></o:body></o:document-content>"
    )
    assert code_of(files.odt_file(tmp_path / "a.odt", text)) in ("document_empty", "document_broken")
    book = files.epub_file(tmp_path / "a.epub", f"{BILLION}<p>&l11;</p>")
    assert len(Documents(SMALL).parse(book, "", "a.epub").blocks) < 10


def test_xml_reads_no_file_of_this_machine(tmp_path: Path) -> None:
    office = "urn:oasis:names:tc:opendocument:xmlns"
    text = (
        f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY file SYSTEM "file:///etc/hostname">]>'
        f'<o:document-content xmlns:o="{office}:office:1.0" xmlns:t="{office}:text:1.0">'
        "<o:body><t:p>seen: &file;</t:p></o:body></o:document-content>"
    )
    (block,) = Documents(SMALL).parse(files.odt_file(tmp_path / "a.odt", text), "", "a.odt").blocks
    assert block.text == "seen:"


def test_html_a_hundred_thousand_deep_is_read_or_refused(tmp_path: Path) -> None:
    deep = saved(tmp_path, "deep.html", b"<div>" * 100_000 + b"<p>bottom of the pit</p>" + b"</div>" * 100_000)
    _read_or_refused(deep)


def test_xml_a_hundred_thousand_deep_is_read_or_refused(tmp_path: Path) -> None:
    office = "urn:oasis:names:tc:opendocument:xmlns"
    inside = "<t:list><t:list-item>" * 100_000 + "</t:list-item></t:list>" * 100_000
    text = (
        f'<o:document-content xmlns:o="{office}:office:1.0" xmlns:t="{office}:text:1.0">'
        f"<o:body>{inside}</o:body></o:document-content>"
    )
    assert code_of(files.odt_file(tmp_path / "deep.odt", text)) == "document_broken"


def test_a_table_that_spans_the_universe_is_bounded(tmp_path: Path) -> None:
    row = b'<tr><td rowspan="99999" colspan="99999">x</td><td>y</td></tr>'
    _read_or_refused(saved(tmp_path, "span.html", b"<html><body><table>" + row * 3000 + b"</table></body></html>"))


def test_files_with_a_password_say_so(tmp_path: Path) -> None:
    assert code_of(files.pdf_file(tmp_path / "locked.pdf", password="open sesame")) == "document_encrypted"
    wrapped = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000) + "EncryptedPackage".encode("utf-16-le") + bytes(500)
    assert code_of(saved(tmp_path, "locked.docx", wrapped)) == "document_encrypted"
    manifest = "<manifest><file-entry><encryption-data/></file-entry></manifest>"
    assert code_of(files.odt_file(tmp_path / "locked.odt", manifest=manifest)) == "document_encrypted"


@pytest.mark.parametrize(
    "content", [b"{\\rtf1 old}", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), b"\x7fELF" + bytes(99)]
)
def test_kinds_that_are_not_read_are_named(tmp_path: Path, content: bytes) -> None:
    assert code_of(saved(tmp_path, "old.doc", content)) == "document_unsupported"
    assert code_of(files.zip_file(tmp_path / "a.zip", {"a.txt": "text"})) == "document_unsupported"


MAKERS = [files.docx_file, files.pptx_file, files.xlsx_file, files.odt_file, files.epub_file, files.pdf_file]


@pytest.mark.parametrize("make", MAKERS)
def test_half_a_file_is_broken(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    whole = make(tmp_path / f"whole.{make.__name__.removesuffix('_file')}")
    half = saved(tmp_path, f"half{whole.suffix}", whole.read_bytes()[: whole.stat().st_size // 2])
    # pdfium mends a PDF that lost its end, as browsers do: what is there is read.
    _read_or_refused(half, "document_broken", "document_empty")


@pytest.mark.parametrize("make", MAKERS)
def test_files_with_wrong_bytes_in_them_are_read_or_refused(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    whole = make(tmp_path / f"whole.{make.__name__.removesuffix('_file')}")
    dice = random.Random(7)
    for at in range(3):
        content = bytearray(whole.read_bytes())
        for _ in range(30):
            content[dice.randrange(len(content))] = dice.randrange(256)
        _read_or_refused(saved(tmp_path, f"wrong{at}{whole.suffix}", bytes(content)))


@pytest.mark.parametrize("head", [b"", b"%PDF-1.7\n", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"<html>", b"II*\x00"])
def test_random_bytes_are_refused_or_no_more_than_text(tmp_path: Path, head: bytes) -> None:
    _read_or_refused(saved(tmp_path, "noise.bin", head + random.Random(1).randbytes(200_000)))


def test_a_file_of_20_megabytes_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path, "large.txt", b"Twenty million letters make a book of ten thousand pages.\n\n" * 340_000)
    document = Documents(Limits(characters=30_000_000)).parse(path, "", "large.txt")
    assert len(document.blocks) == 340_000


def test_more_text_than_is_wanted_is_refused_not_cut(tmp_path: Path) -> None:
    path = saved(tmp_path, "long.txt", b"word " * 1000)
    assert code_of(path, Limits(characters=4000)) == "document_too_large"
    assert len(Documents(Limits(characters=6000)).parse(path, "", "long.txt").blocks) == 1


def test_a_csv_of_100_000_rows_is_read_whole(tmp_path: Path) -> None:
    lines = [f"{at},name {at},{at * 3}.50,some words" for at in range(100_000)]
    (block,) = (
        Documents()
        .parse(saved(tmp_path, "big.csv", "\n".join(["id,name,price,note", *lines]).encode()), "", "big.csv")
        .blocks
    )
    assert len(block.rows) == 100_001
    assert block.rows[-1] == ("99999", "name 99999", "299997.50", "some words")


def test_a_file_above_the_limit_is_not_opened(tmp_path: Path) -> None:
    assert code_of(saved(tmp_path, "a.txt", bytes(2 << 20)), Limits(file=1 << 20)) == "document_too_large"


def test_a_reader_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    path = files.pdf_file(tmp_path / "slow.pdf")
    began = time.monotonic()
    assert code_of(path, Limits(wall_s=0.05)) == "document_timed_out"
    assert time.monotonic() - began < 5


def test_a_reader_that_wants_too_much_memory_is_ended(tmp_path: Path) -> None:
    rows = b"\n".join(b"%d;%d;%d" % (at, at, at) for at in range(400_000))
    assert code_of(saved(tmp_path, "rows.csv", rows), Limits(memory=100 << 20)) in (
        "document_too_large",
        "document_broken",
    )


def _confined(program: str, *, memory: int = 512 << 20) -> subprocess.CompletedProcess[str]:
    before = f"from chatproxy.adapters.documents_limits import confine\nconfine(memory={memory}, cpu_s=1)\n"
    environment = {**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[4] / "proxy")}
    words = [sys.executable, "-c", before + program]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.create_connection(('127.0.0.1', 1))",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import subprocess; subprocess.run(['python3', '-c', 'import socket; socket.socket()'], check=True)",
    ],
)
def test_the_confined_reader_and_its_children_have_no_network(program: str) -> None:
    ended = _confined(program)
    assert ended.returncode != 0
    assert "Permission" in ended.stderr


def test_the_confined_reader_has_bounded_memory_and_time() -> None:
    assert "MemoryError" in _confined("bytearray(1 << 30)").stderr
    assert _confined("while True: pass").returncode == -signal.SIGXCPU


def test_this_process_keeps_its_own_limits(tmp_path: Path) -> None:
    before = [resource.getrlimit(each) for each in (resource.RLIMIT_AS, resource.RLIMIT_CPU)]
    Documents(SMALL).parse(saved(tmp_path, "a.txt", b"text"), "", "a.txt")
    assert [resource.getrlimit(each) for each in (resource.RLIMIT_AS, resource.RLIMIT_CPU)] == before


def _read_or_refused(path: Path, *codes: str) -> None:
    try:
        document = Documents(SMALL).parse(path, "", path.name)
    except DocumentError as error:
        assert error.code in (
            codes or ("document_broken", "document_empty", "document_unsupported", "document_too_large")
        )
    else:
        assert isinstance(document, Document)
        assert document.blocks
