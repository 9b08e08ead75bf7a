"""All of the data as one stream of members: what core/loading.py brings back, and core/comparing.py compares with.

    mongo/NAME.metadata.json.gz, mongo/NAME.bson.gz   by collection, as `mongodump --gzip` writes them
    vectors/NAME.jsonl.gz                             by knowledge collection (core/vector_lines.py)
    data.json                                         last, and only when all the others are whole (core/carried.py)

MongoDB is read as of one moment. Chroma knows no moments, but it is a cache of chunks whose ids stand for what they
say: vectors are looked up for the chunks of that moment, and those that have gone since, or have not come yet, are made
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from chatproxy.core import vector_lines
from chatproxy.core.carried import FORMAT, Digest, Refused, probed
from chatproxy.core.carried_ports import NamedEmbedder, Snapshot, StoredVectors
from chatproxy.core.ingest import embedded
from chatproxy.core.member_stream import MemberStream
from chatproxy.core.passages import Hit
from chatproxy.core.ports import Words
from chatproxy.core.vector_sums import VectorSums
from chatproxy.errors import Unhealthy

_VECTORS_AT_ONCE = 256
_PROBES = 20
_PROBED = 10
# So many are looked at, then and now. Of those found now some may not be of the snapshot's moment. And of equal ones
# an index gives now these, now those: what is no better than the last of them is not expected of another index.
ASKED = 30
_EQUAL = 1e-4
_SET_UP = "`make status` shows what runs; `make up` sets an appliance up, `make restore FROM=...` brings a backup back"

Named = Callable[[str], str]


class Dumping:
    """Every method raises a ChatProxyError, or Refused where there is nothing that should be backed up."""

    def __init__(
        self, snapshot: Snapshot, vectors: StoredVectors, embedder: NamedEmbedder, words: Words, member: Named
    ) -> None:
        """`member` makes a file's name of a collection's."""
        self._snapshot, self._vectors, self._embedder, self._words = snapshot, vectors, embedder, words
        self._member = member
        self._searched = snapshot.searched()

    def check(self) -> None:
        """Look at everything before the first byte: a store without data is one that lost it."""
        if not self._snapshot.schema:
            raise Refused("backup.store_empty", "the database has no schema: nothing was ever stored in it", _SET_UP)
        if not self._snapshot.has_keys():
            raise Refused("backup.store_empty", "the database has no API key and no site key", _SET_UP)
        try:
            self._vectors.check()
        except Unhealthy as error:
            raise Refused(
                "backup.vectors_unavailable",
                f"Chroma: {error}",
                "`make status` shows whether Chroma runs; try again when it does",
            ) from None
        for collection in self._searched:
            self._vectors.fit(collection)
            self._words.size(collection)

    def write(self, out: MemberStream) -> None:
        """All members."""
        snapshot = self._snapshot
        told: dict[str, Any] = {"format": FORMAT, "schema": snapshot.schema, "moment": snapshot.moment.isoformat()}
        told["views"] = [kept.name for kept in snapshot.collections() if kept.view]
        told["collections"] = self._collections(out)
        searched = self._searched
        told["vectors"] = {name: self._dumped(name, searched[name], out) for name in sorted(searched)}
        whole = {name: ids for name, ids in searched.items() if told["vectors"][name]["whole"]}
        told["probes"] = self._probes(whole)
        out.json("data.json", told)
        out.end()

    def _collections(self, out: MemberStream) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for kept in self._snapshot.collections():
            name = f"mongo/{self._member(kept.name)}"
            with out.compressed(f"{name}.metadata.json.gz") as write:
                write(kept.metadata)
            if kept.view:
                continue
            digest = Digest()
            with out.compressed(f"{name}.bson.gz") as write:
                for batch, items in self._snapshot.documents(kept):
                    digest.add(batch, items)
                    write(batch)
            told[kept.name] = {**digest.told(), "indexes": list(kept.indexes)}
        return told

    # --- vectors ----------------------------------------------------------------------------------------------------

    def _dumped(self, collection: str, ids: Sequence[str], out: MemberStream) -> dict[str, Any]:
        """What is told of a collection's vectors. Those that are not all there, or another model's, the worker is
        about to make anew; it does the same where it is brought back."""
        identity, model = self._vectors.identity(collection), self._embedder.model()
        if identity is None:
            return {"count": 0, "whole": False}
        sums = VectorSums()
        with out.compressed(f"vectors/{collection}.jsonl.gz") as write:
            write(vector_lines.head(model))
            for vectors in self._batches(collection, ids):
                sums.add(vectors)
                write(b"".join(vector_lines.line(key, numbers) for key, numbers in vectors.items()))
        if self._vectors.identity(collection) != identity or self._embedder.model() != model:
            # Another model came meanwhile: what was written is of two, and nobody is to read it.
            return {"count": 0, "whole": False}
        return {**sums.told(), "model": model, "whole": True}

    def _batches(self, collection: str, ids: Sequence[str]) -> Iterator[dict[str, bytes]]:
        for begin in range(0, len(ids), _VECTORS_AT_ONCE):
            part = ids[begin : begin + _VECTORS_AT_ONCE]
            found = dict(self._vectors.stored(collection, part))
            missing = [key for key in part if key not in found]
            if missing:
                made = embedded(self._embedder, self._snapshot.chunks(missing))
                found.update({key: vector_lines.unit(vector) for key, vector in made.items()})
            yield {key: vector_lines.packed(found[key]) for key in part}

    # --- probes -----------------------------------------------------------------------------------------------------

    def _probes(self, searched: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        """What retrieval finds now for some passages, by their vector and by their words."""
        all_ids = [f"{collection}\0{key}" for collection in sorted(searched) for key in searched[collection]]
        chosen: dict[str, list[str]] = {}
        for each in probed(all_ids, _PROBES):
            collection, _, key = each.partition("\0")
            chosen.setdefault(collection, []).append(key)
        return [probe for name, keys in chosen.items() for probe in self._probes_of(name, keys, set(searched[name]))]

    def _probes_of(self, collection: str, keys: Sequence[str], known: set[str]) -> Iterator[dict[str, Any]]:
        stored = self._vectors.stored(collection, keys)
        for chunk in sorted(self._snapshot.chunks([key for key in keys if key in stored]), key=lambda each: each.id):
            nearest = self._vectors.nearest(collection, [stored[chunk.id]], ASKED)[0]
            words = self._words.best(collection, chunk.chunk.text, ASKED)
            yield {
                "collection": collection,
                "passage": chunk.id,
                "nearest": _of(nearest, known),
                "words": _of(words, known),
            }


def _of(hits: Sequence[Hit], known: set[str]) -> list[str]:
    least = hits[-1].score + abs(hits[-1].score) * _EQUAL if len(hits) == ASKED else float("-inf")
    return [hit.id for hit in hits if hit.id in known and hit.score > least][:_PROBED]
