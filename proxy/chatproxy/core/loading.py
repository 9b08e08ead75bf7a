"""A dump brought back into an empty database and an empty Chroma; the word index is made anew from the stored chunks.

Nothing here is undone where it fails: what is filled is new, and taken into use only when all of it is there. MongoDB's
schema version comes last of all documents, so a database that was filled by half has none.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from chatproxy.core import vector_lines
from chatproxy.core.carried import Refused
from chatproxy.core.carried_ports import Refill, StoredVectors
from chatproxy.core.ingest import entries
from chatproxy.core.knowledge_ports import WordsIndex
from chatproxy.core.told import broken, read_told
from chatproxy.core.vector_sums import VectorSums
from chatproxy.errors import Unhealthy

# Documents of one write, and their bytes; the driver's own most is 48 MB.
_PUT_AT_ONCE = 1000
_PUT_BYTES = 8 << 20
_READ_BYTES = 1 << 20
# MongoDB's most for a document, and its own additions.
_LONGEST_DOCUMENT = (16 << 20) + (16 << 10)
_LONGEST_JSON = 256 << 20
# Each write of the word index ends with a merge of what is there.
_WORDS_AT_ONCE = 2000


class Loading:
    """Every method raises a ChatProxyError, Refused where the archive or the stores do not allow it."""

    def __init__(
        self, refill: Refill, vectors: Callable[[str], StoredVectors], words: WordsIndex, say: Callable[[str], None]
    ) -> None:
        """`vectors` is Chroma for vectors of a model; `say` takes a line for the operator."""
        self._refill, self._vectors, self._words, self._say = refill, vectors, words, say
        self._told: dict[str, Any] = {}
        # Left to come.
        self._collections: dict[str, Any] = {}
        self._views: set[str] = set()
        self._shelves: dict[str, Any] = {}
        # By the member's name: whose documents come behind a description.
        self._made: dict[str, str] = {}

    def check(self) -> None:
        """Look at the stores before anything is written."""
        filled = self._refill.filled()
        if filled:
            raise Refused(
                "restore.not_empty",
                f"the database has documents already, in {', '.join(filled[:5])}",
                "`make restore` brings data back into volumes of its own; nothing was changed",
            )
        shelf = self._vectors("")
        try:
            shelf.check()
        except Unhealthy as error:
            raise Refused(
                "restore.vectors_unavailable",
                f"Chroma: {error}",
                "`make logs SERVICE=chroma` tells why; then try again",
            ) from None
        if names := shelf.names():
            raise Refused(
                "restore.not_empty",
                f"Chroma has knowledge already: {', '.join(names[:5])}",
                "`make restore` brings data back into volumes of its own; nothing was changed",
            )

    def read(self, stream: IO[bytes]) -> None:
        """All members of a tar stream, data.json first; then the words."""
        try:
            with tarfile.open(fileobj=stream, mode="r|") as members:
                for number, member in enumerate(members):
                    content = members.extractfile(member)
                    if content is None:
                        raise broken(f"{member.name} is no file")
                    if number == 0:
                        self._begin(member.name, content)
                    else:
                        self._member(member.name, content)
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise broken(f"its members cannot be read: {error}") from error
        self._end()

    # --- members ----------------------------------------------------------------------------------------------------

    def _begin(self, name: str, content: IO[bytes]) -> None:
        if name != "data.json":
            raise broken(f"{name} comes before data.json")
        self._told = read_told(content.read(_LONGEST_JSON))
        if self._told["schema"] > self._refill.known_schema:
            raise Refused(
                "restore.newer",
                f"the archive's data have schema version {self._told['schema']}, this program knows "
                f"{self._refill.known_schema}",
                "`make upgrade` first, then restore; or restore an archive of this version",
            )
        self._collections, self._views = dict(self._told["collections"]), set(self._told["views"])
        self._shelves = {name: told for name, told in self._told["vectors"].items() if told["whole"]}

    def _member(self, name: str, content: IO[bytes]) -> None:
        folder, _, file = name.partition("/")
        if folder == "mongo" and file.endswith(".metadata.json.gz"):
            self._make(file.removesuffix(".metadata.json.gz"), unpacked(content))
        elif folder == "mongo" and file.endswith(".bson.gz"):
            self._fill(file.removesuffix(".bson.gz"), unpacked(content))
        elif folder == "vectors" and file.endswith(".jsonl.gz"):
            self._shelve(file.removesuffix(".jsonl.gz"), unpacked(content))
        else:
            raise broken(f"{name} is no part of the data")

    def _make(self, file: str, content: Iterator[bytes]) -> None:
        described = b"".join(content)
        name, is_view = self._refill.make(described)
        if name not in (self._views if is_view else self._collections):
            raise broken(f"data.json does not tell of the collection {name}")
        if is_view:
            self._views.discard(name)
        else:
            self._made[file] = name

    def _fill(self, file: str, content: Iterator[bytes]) -> None:
        name = self._made.pop(file, None)
        if name is None:
            raise broken(f"there is no description in front of {file}")
        told, total, count, size = self._collections.pop(name), hashlib.sha256(), 0, 0
        for documents in _batches(content, name):
            for document in documents:
                total.update(document)
                size += len(document)
            count += len(documents)
            self._refill.put(name, documents)
        if (count, size, total.hexdigest()) != (told["documents"], told["bytes"], told["sha256"]):
            raise broken(f"{name} has {count} documents, and not the {told['documents']} of data.json as they were")
        self._refill.index(name)

    def _shelve(self, collection: str, content: Iterator[bytes]) -> None:
        told = self._shelves.pop(collection, None)
        if told is None:
            # A change of the model came while it was written.
            for _ in content:
                pass
            return
        shelf, sums = self._vectors(told["model"]), VectorSums()
        shelf.begin(collection)
        lines = _lines(content)
        next(lines, b"")  # whose they are stands in data.json
        vectors: dict[str, bytes] = {}
        for line in lines:
            try:
                key, numbers = vector_lines.read(line)
            except ValueError:
                raise broken(f"a vector of {collection} cannot be read") from None
            vectors[key] = numbers
            if len(vectors) == _PUT_AT_ONCE:
                _put(shelf, collection, vectors, sums)
                vectors = {}
        _put(shelf, collection, vectors, sums)
        if (sums.count, sums.told()["sha256"]) != (told["count"], told["sha256"]):
            raise broken(f"{collection} has {sums.count} vectors, and not the {told['count']} of data.json")
        shelf.finish(collection)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        if not self._told:
            raise broken("there is nothing in it")
        missing = [*self._collections, *self._views, *self._shelves]
        if missing:
            raise broken(f"data.json tells of {', '.join(sorted(missing)[:5])}, which did not come")
        for collection, told in sorted(self._told["vectors"].items()):
            if not told["whole"]:
                # Found unfinished, it is what the worker makes anew of itself.
                self._vectors("").begin(collection)
                self._say(
                    f"The vectors of {collection} were not whole when it was backed up: the worker makes them anew."
                )
        self._index_words()
        self._refill.finish()

    def _index_words(self) -> None:
        for collection in self._told["vectors"]:
            self._words.drop(collection)
        after = ""
        while chunks := self._refill.chunks(after, _WORDS_AT_ONCE):
            self._words.put(entries(chunks))
            after = chunks[-1].id


def unpacked(content: IO[bytes]) -> Iterator[bytes]:
    """A gzip file's content in pieces. Raises zlib.error, and EOFError where it breaks off."""
    unpacker = zlib.decompressobj(wbits=31)
    while packed := content.read(_READ_BYTES):
        # Never more at a time than is asked for: what is packed may be far smaller.
        while packed:
            yield unpacker.decompress(packed, _READ_BYTES)
            packed = unpacker.unconsumed_tail
    yield unpacker.flush()
    if not unpacker.eof or unpacker.unused_data:
        raise EOFError("it breaks off")


def _batches(content: Iterator[bytes], name: str) -> Iterator[list[bytes]]:
    """BSON documents, so many at a time as fit one write."""
    waiting, batch, size = bytearray(), list[bytes](), 0
    for piece in content:
        waiting += piece
        begin = 0
        while len(waiting) - begin >= 4:
            length = int.from_bytes(waiting[begin : begin + 4], "little", signed=True)
            if not 5 <= length <= _LONGEST_DOCUMENT:
                raise broken(f"a document of {name} is none")
            if len(waiting) - begin < length:
                break
            batch.append(bytes(waiting[begin : begin + length]))
            begin += length
            size += length
            if len(batch) == _PUT_AT_ONCE or size >= _PUT_BYTES:
                yield batch
                batch, size = [], 0
        del waiting[:begin]
    if waiting:
        raise broken(f"{name} breaks off in the middle of a document")
    if batch:
        yield batch


def _lines(content: Iterator[bytes]) -> Iterator[bytes]:
    waiting = b""
    for piece in content:
        *lines, waiting = (waiting + piece).split(b"\n")
        yield from lines
    if waiting:
        yield waiting


def _put(shelf: StoredVectors, collection: str, vectors: dict[str, bytes], sums: VectorSums) -> None:
    if vectors:
        sums.add(vectors)
        shelf.put(collection, {key: vector_lines.unpacked(numbers) for key, numbers in vectors.items()})
