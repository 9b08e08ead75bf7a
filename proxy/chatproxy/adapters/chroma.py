"""Chroma, the store of vectors, through its v2 HTTP API.

A knowledge collection is a Chroma collection whose metadata name the embedding model: vectors of two models are not
comparable, so those of another model count as not there until they are made anew. While that goes on the metadata say
`whole: false`: what is half there would pass for all that there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chatproxy.adapters.calls import CallFailed, Service
from chatproxy.core.passages import Fit, Hit
from chatproxy.errors import SearchUnavailable, Unhealthy

_CHECK_TIMEOUT_S = 2.0
_QUERY_TIMEOUT_S = 10.0
_WRITE_TIMEOUT_S = 60.0
_BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"
# Chroma wants names of 3 to 512 characters; a collection's own may be shorter.
_PREFIX = "knowledge-"
# Its largest write is a few thousand records; vectors of 384 numbers come to 8 KB each as JSON.
WRITTEN_AT_ONCE = 256
_LISTED_AT_ONCE = 500


class VectorsUnavailable(SearchUnavailable):
    """Chroma is not there or gave no usable answer."""


class Chroma:
    """Implements core.ports.Vectors, VectorIndex and HealthCheck, and core.carried_ports.StoredVectors."""

    name = "chroma"

    def __init__(self, url: str, *, token: str = "", model: Callable[[], str] = lambda: "") -> None:
        """`model` names the embedding model whose vectors are kept and looked up."""
        self._service = Service(url, token=token)
        self._model = model
        # By collection the model whose vectors it holds, and its id.
        self._ids: dict[str, tuple[str, str]] = {}

    def check(self) -> None:
        """See core.ports.HealthCheck."""
        try:
            answer = self._service.get("/api/v2/heartbeat", timeout_s=_CHECK_TIMEOUT_S)
        except CallFailed as error:
            raise Unhealthy("the token is refused" if str(error) in ("HTTP 401", "HTTP 403") else str(error)) from None
        if not isinstance(answer, dict) or "nanosecond heartbeat" not in answer:
            raise Unhealthy("it does not talk like Chroma")

    def nearest(self, collection: str, vectors: Sequence[Sequence[float]], count: int) -> Sequence[Sequence[Hit]]:
        """See core.ports.Vectors. Raises VectorsUnavailable."""
        payload = {
            "query_embeddings": [list(vector) for vector in vectors],
            "n_results": count,
            "include": ["distances"],
        }
        answer = self._in_collection(collection, "query", payload, _QUERY_TIMEOUT_S)
        if answer is None:
            return [[] for _ in vectors]
        try:
            pairs = zip(answer["ids"], answer["distances"], strict=True)
            return [
                [Hit(str(key), 1.0 - float(distance)) for key, distance in zip(keys, distances, strict=True)]
                for keys, distances in pairs
            ]
        except (KeyError, TypeError, ValueError):
            raise VectorsUnavailable("chroma: the answer holds no hits") from None

    def put(self, collection: str, vectors: Mapping[str, Sequence[float]]) -> None:
        """See core.ports.VectorIndex. Raises VectorsUnavailable."""
        keys = list(vectors)
        for begin in range(0, len(keys), WRITTEN_AT_ONCE):
            part = keys[begin : begin + WRITTEN_AT_ONCE]
            payload = {"ids": part, "embeddings": [list(vectors[key]) for key in part]}
            self._in_collection(collection, "upsert", payload, _WRITE_TIMEOUT_S, make=True)

    def remove(self, collection: str, ids: Sequence[str]) -> None:
        """See core.ports.VectorIndex. Raises VectorsUnavailable."""
        for begin in range(0, len(ids), WRITTEN_AT_ONCE):
            part = list(ids[begin : begin + WRITTEN_AT_ONCE])
            self._in_collection(collection, "delete", {"ids": part}, _WRITE_TIMEOUT_S)

    def drop(self, collection: str) -> None:
        """See core.ports.VectorIndex. Raises VectorsUnavailable."""
        self._ids.pop(collection, None)
        try:
            self._service.call("DELETE", f"{_BASE}/{_PREFIX}{collection}", timeout_s=_WRITE_TIMEOUT_S)
        except CallFailed as error:
            if str(error) != "HTTP 404":
                raise VectorsUnavailable(f"chroma: {error}") from None

    def begin(self, collection: str) -> None:
        """See core.ports.VectorIndex. Raises VectorsUnavailable."""
        self.drop(collection)
        self._make(collection, whole=False)

    def finish(self, collection: str) -> None:
        """See core.ports.VectorIndex. Raises VectorsUnavailable."""
        found = self._looked_up(collection)
        if found is None or self._fit_of(found) != "unfinished":
            return
        payload = {"new_metadata": {"model": self._model(), "whole": True}}
        try:
            self._service.call("PUT", f"{_BASE}/{found['id']}", payload, timeout_s=_WRITE_TIMEOUT_S)
        except CallFailed as error:
            raise VectorsUnavailable(f"chroma: {error}") from None

    def fit(self, collection: str) -> Fit:
        """See core.ports.VectorIndex. Raises VectorsUnavailable."""
        found = self._looked_up(collection)
        return "absent" if found is None else self._fit_of(found)

    # --- for backup and restore -------------------------------------------------------------------------------------

    def names(self) -> Sequence[str]:
        """See core.carried_ports.StoredVectors. Raises VectorsUnavailable."""
        names: list[str] = []
        while True:
            page = self._read(f"{_BASE}?limit={_LISTED_AT_ONCE}&offset={len(names)}")
            names += [str(each["name"]) for each in page]
            if len(page) < _LISTED_AT_ONCE:
                return sorted(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))

    def identity(self, collection: str) -> str | None:
        """See core.carried_ports.StoredVectors. Raises VectorsUnavailable."""
        found = self._looked_up(collection)
        return str(found["id"]) if found and self._fit_of(found) == "whole" else None

    def count(self, collection: str) -> int:
        """See core.carried_ports.StoredVectors. Raises VectorsUnavailable."""
        identity = self.identity(collection)
        return int(self._read(f"{_BASE}/{identity}/count")) if identity else 0

    def stored(self, collection: str, ids: Sequence[str]) -> Mapping[str, Sequence[float]]:
        """See core.carried_ports.StoredVectors. Raises VectorsUnavailable."""
        vectors: dict[str, Sequence[float]] = {}
        for begin in range(0, len(ids), WRITTEN_AT_ONCE):
            payload = {"ids": list(ids[begin : begin + WRITTEN_AT_ONCE]), "include": ["embeddings"]}
            answer = self._in_collection(collection, "get", payload, _WRITE_TIMEOUT_S)
            if answer is None:
                return {}
            try:
                vectors.update(zip(answer["ids"], answer["embeddings"], strict=True))
            except (KeyError, TypeError, ValueError):
                raise VectorsUnavailable("chroma: the answer holds no vectors") from None
        return vectors

    # --- inside -----------------------------------------------------------------------------------------------------

    def _read(self, path: str) -> Any:
        try:
            return self._service.get(path, timeout_s=_QUERY_TIMEOUT_S)
        except CallFailed as error:
            raise VectorsUnavailable(f"chroma: {error}") from None

    def _fit_of(self, found: Mapping[str, Any]) -> Fit:
        metadata = found.get("metadata") or {}
        if metadata.get("model") != self._model():
            return "foreign"
        return "whole" if metadata.get("whole", True) else "unfinished"

    def _in_collection(
        self, collection: str, verb: str, payload: dict[str, Any], timeout_s: float, *, make: bool = False
    ) -> Any:
        """The answer, None where there is no such collection (`make`: then there will be one)."""
        for known in (True, False):
            key = self._id(collection, known=known, make=make)
            if key is None:
                return None
            try:
                return self._service.call("POST", f"{_BASE}/{key}/{verb}", payload, timeout_s=timeout_s)
            except CallFailed as error:
                # It may have been dropped and made anew by another process.
                if str(error) != "HTTP 404" or not known:
                    raise VectorsUnavailable(f"chroma: {error}") from None
        return None

    def _id(self, collection: str, *, known: bool, make: bool) -> str | None:
        model = self._model()
        if known and (remembered := self._ids.get(collection)) and remembered[0] == model:
            return remembered[1]
        self._ids.pop(collection, None)
        found = self._looked_up(collection) or (self._make(collection) if make else None)
        if found is None:
            return None
        fit, key = self._fit_of(found), str(found["id"])
        if fit == "foreign" and make:
            raise VectorsUnavailable(f"chroma: the collection {collection!r} holds vectors of another model")
        if fit == "whole":
            self._ids[collection] = (model, key)
        return key if fit == "whole" or make else None

    def _looked_up(self, collection: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._service.get(f"{_BASE}/{_PREFIX}{collection}", timeout_s=_QUERY_TIMEOUT_S)
        except CallFailed as error:
            if str(error) == "HTTP 404":
                return None
            raise VectorsUnavailable(f"chroma: {error}") from None
        return found

    def _make(self, collection: str, *, whole: bool = True) -> dict[str, Any]:
        payload = {
            "name": f"{_PREFIX}{collection}",
            "get_or_create": True,
            "metadata": {"model": self._model(), "whole": whole},
            "configuration": {"hnsw": {"space": "cosine"}},
        }
        try:
            made: dict[str, Any] = self._service.call("POST", _BASE, payload, timeout_s=_WRITE_TIMEOUT_S)
        except CallFailed as error:
            raise VectorsUnavailable(f"chroma: {error}") from None
        return made
