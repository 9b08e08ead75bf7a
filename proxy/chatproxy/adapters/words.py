"""Chunks by their words: one tantivy index (a search library like Lucene, BM25) in a folder of its own.

The worker writes, the proxy reads the same folder; readers see a change within a second of its commit. Like Chroma it
is a cache: what it holds can be made anew from the stored chunks.

Words are indexed as they stand (lower case, accents folded) and by their stems in the document's language, so that
"refunds" finds "refund" and an error code is found only as it is. https://docs.rs/tantivy
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import tantivy

from chatproxy.adapters.remembered import Remembered
from chatproxy.core.passages import Entry, Hit
from chatproxy.errors import SearchUnavailable

# ISO 639-1 -> what tantivy calls its Snowball stemmers.
_STEMMERS = {
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fr": "french",
    "it": "italian",
    "nl": "dutch",
    "pt": "portuguese",
}
_FOLDED = "folded"
_LONGEST_WORD = 60  # characters; longer ones are encoded data
_MOST_WORDS = 60  # of a question; more would only cost time
_HEAP_BYTES = 64 << 20
# Titles are short, which alone makes BM25 take them for very fitting: a page called after its subject would put all of
# its chunks before the one that answers. (make bench ONLY=knowledge; the stems hold the title as well.)
_TITLE_BOOST = 0.5
_WEIGHTS = {"title": _TITLE_BOOST, "words": 1.0, **{f"stem_{name}": 1.0 for name in _STEMMERS.values()}}
_LOOK_EVERY_S = 1.0
_WORD = re.compile(r"\w+")


class WordsUnavailable(SearchUnavailable):
    """The folder of the word index is missing, closed to this user or broken."""


class WordIndex:
    """Implements core.ports.Words and, for the one process that writes, core.knowledge_ports.WordsIndex."""

    def __init__(self, folder: Path) -> None:
        """Opens the folder on first use, and makes it where it is not there."""
        self._folder = folder
        self._opened = Remembered(self._open)
        self._lock = threading.Lock()
        self._looked_at = 0.0

    def best(self, collection: str, text: str, count: int) -> Sequence[Hit]:
        """See core.ports.Words."""
        words = [word for word in dict.fromkeys(_WORD.findall(text.lower())) if len(word) <= _LONGEST_WORD][
            :_MOST_WORDS
        ]
        if not words:
            return []
        index = self._opened.get()
        searcher = self._searcher(index)
        # Words alone, without the signs of the query language.
        asked, _ = index.parse_query_lenient(" ".join(words), list(_WEIGHTS), field_boosts=_WEIGHTS)
        must, within = tantivy.Occur.Must, tantivy.Query.const_score_query(_within(index, collection), 0.0)
        query = tantivy.Query.boolean_query([(must, asked), (must, within)])
        found = searcher.search(query, count, count=False).hits
        return [Hit(str(searcher.doc(address)["id"][0]), float(score)) for score, address in found]

    def size(self, collection: str) -> int:
        """See core.ports.Words."""
        index = self._opened.get()
        found = self._searcher(index).search(_within(index, collection), 1, count=True)
        return int(found.count)  # type: ignore[attr-defined]  # the library's types leave it out

    def put(self, entries: Mapping[str, Entry]) -> None:
        """Index chunks by their ids, in place of what was there under them."""
        with self._writing() as writer:
            for key, entry in entries.items():
                writer.delete_documents_by_term("id", key)
                writer.add_document(_document(key, entry))

    def remove(self, ids: Iterable[str]) -> None:
        with self._writing() as writer:
            for key in ids:
                writer.delete_documents_by_term("id", key)

    def drop(self, collection: str) -> None:
        with self._writing() as writer:
            writer.delete_documents_by_term("collection", collection)

    def _open(self) -> tantivy.Index:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            index = tantivy.Index(_schema(), path=str(self._folder))
        except (OSError, ValueError) as error:
            raise WordsUnavailable(f"the word index in {self._folder} cannot be opened: {error}") from None
        index.register_tokenizer(_FOLDED, _analyzer(None))
        for name in _STEMMERS.values():
            index.register_tokenizer(f"stem_{name}", _analyzer(name))
        index.config_reader("Manual", 1)
        return index

    def _searcher(self, index: tantivy.Index) -> tantivy.Searcher:
        with self._lock:
            if time.monotonic() - self._looked_at > _LOOK_EVERY_S:
                index.reload()
                self._looked_at = time.monotonic()
        return index.searcher()

    @contextmanager
    def _writing(self) -> Iterator[tantivy.IndexWriter]:
        """All or nothing: a crash before the commit leaves the index as it was.

        Raises WordsUnavailable where the disk does not take it: later it may.
        """
        index = self._opened.get()
        with self._told():
            writer = index.writer(_HEAP_BYTES, 1)
        try:
            yield writer
            with self._told():
                writer.commit()
                writer.wait_merging_threads()
        except BaseException:
            # A writer that has met a full disk is dead, and says so instead of going back.
            with suppress(OSError, ValueError):
                writer.rollback()
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The library's own errors, which do not tell a full disk from a broken one."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise WordsUnavailable(f"the word index in {self._folder} cannot be written: {error}") from None


def _within(index: tantivy.Index, collection: str) -> tantivy.Query:
    return tantivy.Query.term_query(index.schema, "collection", collection, "basic")


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("collection", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("title", tokenizer_name=_FOLDED, index_option="freq")
    builder.add_text_field("words", tokenizer_name=_FOLDED, index_option="freq")
    for name in _STEMMERS.values():
        builder.add_text_field(f"stem_{name}", tokenizer_name=f"stem_{name}", index_option="freq")
    return builder.build()


def _analyzer(stemmer: str | None) -> tantivy.TextAnalyzer:
    steps = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.remove_long(_LONGEST_WORD))
    steps = steps.filter(tantivy.Filter.lowercase())
    # Stemmers know accents, so folding comes after them.
    if stemmer:
        steps = steps.filter(tantivy.Filter.stemmer(stemmer))
    return steps.filter(tantivy.Filter.ascii_fold()).build()


def _document(key: str, entry: Entry) -> tantivy.Document:
    document = tantivy.Document()
    document.add_text("id", key)
    document.add_text("collection", entry.collection)
    document.add_text("title", entry.title)
    document.add_text("words", entry.text)
    stemmer = _STEMMERS.get(entry.language)
    if stemmer:
        document.add_text(f"stem_{stemmer}", f"{entry.title}\n{entry.text}")
    return document
