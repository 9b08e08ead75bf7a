"""What retrieval finds. All immutable."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

# What a knowledge collection may be called.
COLLECTION = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

# What a collection's vectors are beside the present embedding model: all of it and its own, not yet all, those of
# another model, or none.
Fit = Literal["whole", "unfinished", "foreign", "absent"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk's id and how well it fits: a cosine, or a BM25 score."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Passage:
    """Part of a document of the owner's: one chunk, or several that follow one another.

    `path` is the document's title and the headings above, `url` where it can be read ("" for an uploaded file without
    an address), `anchor` the fragment there, `page` counts from 1. `score` is a cosine between the question and the
    best chunk, from -1 to 1, or a reranker's relevance, from 0 to 1.
    """

    id: str
    document_id: str
    position: int
    text: str
    path: tuple[str, ...]
    url: str = ""
    anchor: str = ""
    page: int | None = None
    score: float = 0.0

    @property
    def title(self) -> str:
        return self.path[0] if self.path else self.url

    @property
    def link(self) -> str:
        """Where it can be read, at the right place."""
        if not self.url:
            return ""
        if self.anchor:
            return f"{self.url.partition('#')[0]}#{self.anchor}"
        return f"{self.url}#page={self.page}" if self.page and "#" not in self.url else self.url


@dataclass(frozen=True, slots=True)
class Seen:
    """A passage, and how it came up: its cosine, its BM25 score, what a reranker made of it; None where that search
    has not found it, or nothing reranks."""

    passage: Passage
    cosine: float | None = None
    words: float | None = None
    relevance: float | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """What retrieval finds for a question, best first. Not `relevant`: it finds nothing, and `seen` is what came
    nearest. `reached` is what decided that, a cosine (with what the best passage shares of the question's words) or a
    reranker's relevance, and `needed` what it has to come to; None where there are no vectors to go by.
    """

    seen: tuple[Seen, ...]
    relevant: bool
    reached: float | None = None
    needed: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What the word index holds of one chunk; `language` is ISO 639-1, "" where nobody knows."""

    collection: str
    title: str
    text: str
    language: str = ""
