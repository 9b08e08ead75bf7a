"""The nouns of knowledge: what a parsed document, its chunks and the failures on the way to them are. All immutable."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["heading", "text", "list", "table", "code", "caption"]
DocumentCode = Literal[
    "document_encrypted",
    "document_broken",
    "document_too_large",
    "document_timed_out",
    "document_empty",
    "document_unsupported",
]
FetchCode = Literal["fetch_refused", "fetch_failed", "fetch_too_large", "fetch_robots", "fetch_status"]


@dataclass(frozen=True, slots=True)
class Block:
    """One piece of a document in reading order.

    `level` is a heading's, 1 to 6, else 0. A table stands in `rows`, the first being its header, with an empty `text`.
    A list's `text` has one item a line. `page` counts from 1; `anchor` is the fragment that leads to the block.
    """

    kind: BlockKind
    text: str
    level: int = 0
    rows: tuple[tuple[str, ...], ...] = ()
    page: int | None = None
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """What a file or page says. `warnings` tell in words, for the job's report, what of it could not be read.

    `language` is a BCP 47 tag and `canonical` the page's own address, both only where the document tells them.
    """

    title: str
    blocks: tuple[Block, ...]
    language: str = ""
    canonical: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a document that is found and cited as one.

    `path` is the document's title, then the headings above the chunk's start; `anchor` and `page` are its start's;
    `position` counts from 0 within the document; `tokens` are those of `text`.
    """

    text: str
    path: tuple[str, ...]
    anchor: str
    page: int | None
    position: int
    tokens: int

    @property
    def embedded(self) -> str:
        """What is embedded and searched."""
        return f"{path_line(self.path)}{self.text}"

    @property
    def digest(self) -> str:
        """32 hexadecimal digits, the same for texts that differ in case, spacing or Unicode form alone."""
        normalised = " ".join(unicodedata.normalize("NFKC", self.text).casefold().split())
        return hashlib.blake2b(normalised.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def path_line(path: tuple[str, ...]) -> str:
    """The line in front of a chunk's text in what is embedded; empty for an empty path."""
    return f"{' > '.join(path)}\n" if path else ""


class DocumentError(Exception):
    """A file that cannot be read; `public` says why, in words for the operator."""

    def __init__(self, code: DocumentCode, public: str) -> None:
        super().__init__(f"{code}: {public}")
        self.code: DocumentCode = code
        self.public = public


class FetchError(Exception):
    """An address that gave nothing to read; `public` says why, in words for the operator."""

    def __init__(self, code: FetchCode, public: str) -> None:
        super().__init__(f"{code}: {public}")
        self.code: FetchCode = code
        self.public = public
