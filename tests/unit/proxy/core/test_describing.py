"""Pictures described by an engine that can see: beside the text in them, and never at the document's cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatproxy.core.describing import Described
from chatproxy.core.knowledge import Block, Document, DocumentError
from chatproxy.errors import EngineFailure
from tests.unit.proxy.pictures import picture, swollen

PNG, JPEG, GIF, WEBP = picture(), picture("JPEG"), picture("GIF"), b"RIFF\x00\x00\x00\x00WEBP"
READ = Document("sign", (Block("text", "OPEN 9-17", page=1),), warnings=("a warning",))


class FakeReader:
    """Implements Parser: `document`, or `error`."""

    def __init__(self, document: Document = READ, error: DocumentError | None = None) -> None:
        self.document, self.error = document, error

    def parse(self, path: Path, media_type: str, name: str) -> Document:
        if self.error:
            raise self.error
        return self.document


class FakeDescriber:
    """Implements Describer; `blind`, and what is raised instead."""

    def __init__(self, *, blind: bool = False, error: EngineFailure | None = None) -> None:
        self.blind, self.error = blind, error
        self.looked: list[tuple[bytes, str]] = []

    def sees(self) -> bool:
        return not self.blind

    def describe(self, picture: bytes, media_type: str) -> str:
        self.looked.append((picture, media_type))
        if self.error:
            raise self.error
        return "A wooden sign beside a red door."


def parsed(tmp_path: Path, data: bytes, describer: FakeDescriber, reader: FakeReader | None = None) -> Document:
    path = tmp_path / "document"
    path.write_bytes(data)
    return Described(reader or FakeReader(), describer).parse(path, "", "sign.png")


@pytest.mark.parametrize(("data", "kind"), [(PNG + b"..", "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif")])
def test_a_description_stands_beside_the_text_in_the_picture(tmp_path: Path, data: bytes, kind: str) -> None:
    describer = FakeDescriber()
    document = parsed(tmp_path, data, describer)
    assert document.blocks == (*READ.blocks, Block("caption", "A wooden sign beside a red door.", page=1))
    assert describer.looked == [(data, kind)]


def test_a_picture_without_words_is_found_by_its_description(tmp_path: Path) -> None:
    empty = FakeReader(error=DocumentError("document_empty", "There is no text in it."))
    document = parsed(tmp_path, PNG, FakeDescriber(), empty)
    assert (document.title, [block.kind for block in document.blocks]) == ("sign", ["caption"])


def test_a_blind_engine_changes_nothing(tmp_path: Path) -> None:
    describer = FakeDescriber(blind=True)
    assert parsed(tmp_path, PNG, describer) == READ
    assert describer.looked == []


def test_a_failing_engine_is_a_warning(tmp_path: Path) -> None:
    describer = FakeDescriber(error=EngineFailure("the engine failed: no answer within 180 s"))
    document = parsed(tmp_path, PNG, describer)
    assert document.blocks == READ.blocks
    assert document.warnings == ("a warning", "it was not described: the engine failed: no answer within 180 s")


@pytest.mark.parametrize("data", [WEBP, b"II*\x00"])
def test_a_kind_that_engines_do_not_read_is_told(tmp_path: Path, data: bytes) -> None:
    describer = FakeDescriber()
    document = parsed(tmp_path, data, describer)
    assert "not described" in document.warnings[-1]
    assert describer.looked == []
    assert parsed(tmp_path, data, FakeDescriber(blind=True)) == READ


def test_a_picture_too_large_for_the_engine_is_told(tmp_path: Path) -> None:
    describer = FakeDescriber()
    document = parsed(tmp_path, PNG + bytes(16 << 20), describer)
    assert "larger than 16 MB" in document.warnings[-1]
    assert describer.looked == []


def test_a_picture_that_would_fill_the_engines_memory_is_not_shown_to_it(tmp_path: Path) -> None:
    describer = FakeDescriber()
    document = parsed(tmp_path, swollen(1 << 20), describer)
    assert document.blocks == READ.blocks
    assert "it was not described: the picture: holds more than" in document.warnings[-1]
    assert describer.looked == []


def test_an_empty_picture_that_was_not_described_says_both(tmp_path: Path) -> None:
    describer = FakeDescriber(error=EngineFailure("the engine failed: HTTP 503"))
    with pytest.raises(DocumentError, match=r"document_empty: There is no text .* not described: .* HTTP 503\."):
        parsed(tmp_path, PNG, describer, FakeReader(Document("sign", ())))


def test_a_broken_picture_stays_broken(tmp_path: Path) -> None:
    broken = FakeReader(error=DocumentError("document_broken", "The picture is damaged."))
    with pytest.raises(DocumentError, match="document_broken"):
        parsed(tmp_path, PNG, FakeDescriber(), broken)


@pytest.mark.parametrize("data", [b"%PDF-1.7", b"plain text", b"RIFF\x00\x00\x00\x00WAVE", b""])
def test_other_documents_are_not_looked_at(tmp_path: Path, data: bytes) -> None:
    describer = FakeDescriber(error=EngineFailure("never asked"))
    assert parsed(tmp_path, data, describer) == READ
