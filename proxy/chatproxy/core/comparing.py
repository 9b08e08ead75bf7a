"""What the stores hold now, beside what data.json tells of a backup. Nothing of what documents say is told, only where.

Retrieval's ten best are looked for among the thirty best: Chroma's index answers approximately and BM25 counts what was
deleted until it is merged away, so two indexes of the same chunks may swap neighbours of nearly equal worth. `same`
counts those probes whose two lists are exactly as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from chatproxy.core import vector_lines
from chatproxy.core.carried import Digest, difference
from chatproxy.core.carried_ports import Snapshot, StoredVectors
from chatproxy.core.dumping import ASKED
from chatproxy.core.ports import Words
from chatproxy.core.vector_sums import VectorSums

_VECTORS_AT_ONCE = 256


class Comparing:
    """Every method raises a ChatProxyError, Refused where a store cannot be read."""

    def __init__(
        self,
        snapshot: Snapshot,
        vectors: Callable[[str], StoredVectors],
        words: Words,
        now: datetime,
    ) -> None:
        """`vectors` is Chroma for vectors of a model."""
        self._snapshot, self._vectors, self._words, self._today = snapshot, vectors, words, now.date()

    def differences(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """{"differences": how many, "collections": {NAME: ...}, "vectors": {NAME: ...}, "probes": {...}, "expired": N}.

        `expired` documents are gone because it was their time, and are no difference.
        """
        expired, collections = self._collections(told)
        searched = self._snapshot.searched()
        vectors = {
            name: unlike
            for name, each in sorted(told["vectors"].items())
            if each["whole"] and (unlike := self._of_vectors(name, each, searched.get(name, ())))
        }
        whole = [probe for probe in told["probes"] if probe["collection"] not in vectors]
        probes = [self._of_probe(probe, told["vectors"][probe["collection"]]["model"]) for probe in whole]
        lost = [each for each in probes if each["lost"]]
        schema = [] if told["schema"] == self._snapshot.schema else [told["schema"], self._snapshot.schema]
        return {
            "differences": len(collections) + len(vectors) + len(lost) + bool(schema),
            "schema": schema,
            "collections": collections,
            "vectors": vectors,
            "probes": {"asked": len(probes), "same": sum(each["same"] for each in probes), "lost": lost[:5]},
            "expired": expired,
        }

    # --- MongoDB ----------------------------------------------------------------------------------------------------

    def _collections(self, told: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        unlike: dict[str, Any] = {}
        expired = 0
        kept = {each.name: each for each in self._snapshot.collections()}
        for name, each in sorted(told["collections"].items()):
            here = kept.get(name)
            if here is None or here.view:
                unlike[name] = {"missing": True}
                continue
            found = Digest()
            for batch, items in self._snapshot.documents(here):
                found.add(batch, items)
            differs, gone = difference(each, found, self._today)
            expired += gone
            indexes = sorted(set(each["indexes"]) ^ set(here.indexes))
            if differs or indexes:
                unlike[name] = {**(differs or {}), **({"indexes": indexes} if indexes else {})}
        unlike.update({name: {"missing": True} for name in told["views"] if name not in kept or not kept[name].view})
        for name in sorted(set(kept) - set(told["collections"]) - set(told["views"])):
            if kept[name].view or any(items for _, items in self._snapshot.documents(kept[name])):
                unlike[name] = {"unknown": True}
        return expired, unlike

    # --- Chroma and the word index ----------------------------------------------------------------------------------

    def _of_vectors(self, collection: str, told: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any] | None:
        shelf, sums = self._vectors(told["model"]), VectorSums()
        for vectors in _read(shelf, collection, ids):
            sums.add(vectors)
        count, among = shelf.count(collection), sums.unlike(told)
        if count == sums.count and among is None:
            return None
        return {"vectors": [told["count"], count], "among": among or []}

    def _of_probe(self, probe: Mapping[str, Any], model: str) -> dict[str, Any]:
        collection, key, shelf = probe["collection"], probe["passage"], self._vectors(model)
        told = {"collection": collection, "passage": key}
        stored, chunks = shelf.stored(collection, [key]), self._snapshot.chunks([key])
        if key not in stored or not chunks:
            return {**told, "same": False, "lost": [key]}
        nearest = [hit.id for hit in shelf.nearest(collection, [stored[key]], ASKED)[0]]
        words = [hit.id for hit in self._words.best(collection, chunks[0].chunk.text, ASKED)]
        lost = [
            each
            for wanted, got in ((probe["nearest"], nearest), (probe["words"], words))
            for each in wanted
            if each not in got
        ]
        same = nearest[: len(probe["nearest"])] == probe["nearest"] and words[: len(probe["words"])] == probe["words"]
        return {**told, "same": same, "lost": lost[:5]}


def _read(shelf: StoredVectors, collection: str, ids: Sequence[str]) -> Iterator[dict[str, bytes]]:
    for begin in range(0, len(ids), _VECTORS_AT_ONCE):
        part = ids[begin : begin + _VECTORS_AT_ONCE]
        found = shelf.stored(collection, part)
        yield {key: vector_lines.packed(found[key]) for key in part if key in found}
