"""A data.json of another shape is refused by the name of what is not there, before anybody looks for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatproxy.core.carried import FORMAT, Refused
from chatproxy.core.told import read_told

SUM = "00" * 32
COLLECTION = {"documents": 1, "bytes": 20, "sha256": SUM, "groups": {"0a": [1, SUM]}, "indexes": ["_id_"]}
TOLD: dict[str, Any] = {
    "format": FORMAT,
    "schema": 9,
    "moment": "2026-11-22T08:15:00+00:00",
    "collections": {"schema": COLLECTION, "messages": COLLECTION},
    "views": ["recent"],
    "vectors": {
        "shop": {"count": 2, "sha256": SUM, "groups": {"0a": [1, 0.5], "0b": [1, 1]}, "model": "small", "whole": True},
        "guide": {"count": 0, "whole": False},
    },
    "probes": [{"collection": "shop", "passage": "p", "nearest": ["p", "q"], "words": []}],
}


def changed(place: str, value: Any = None) -> dict[str, Any]:
    """With another value at a place such as vectors.shop.model; without a value, without that place."""
    told = json.loads(json.dumps(TOLD))
    *above, last = place.split(".")
    part: Any = told
    for name in above:
        part = part[int(name) if isinstance(part, list) else name]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return told


def refused(told: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        read_told(told if isinstance(told, bytes) else json.dumps(told).encode())
    return caught.value


def test_what_is_written_is_read() -> None:
    assert read_told(json.dumps(TOLD).encode()) == TOLD


@pytest.mark.parametrize(
    "place",
    [
        "format",
        "schema",
        "moment",
        "collections",
        "collections.schema",
        *(f"collections.messages.{part}" for part in COLLECTION),
        "views",
        "vectors",
        *(f"vectors.shop.{part}" for part in TOLD["vectors"]["shop"]),
        "probes",
        *(f"probes.0.{part}" for part in TOLD["probes"][0]),
    ],
)
@pytest.mark.parametrize("value", [None, True, -1, "x", ["x", 1], {"x": "y"}, [None]])
def test_what_is_missing_or_of_another_kind_is_named(place: str, value: Any) -> None:
    """Each part is needed, and one kind of value alone fits it."""
    kinds = {"whole": [True], "indexes": [], "views": [], "nearest": [], "words": []}
    last = place.rpartition(".")[2]
    if value in kinds.get(last, []) or (isinstance(value, str) and last in ("moment", "sha256", "model", "passage")):
        assert read_told(json.dumps(changed(place, value)).encode())
        return
    error = refused(changed(place, value))
    assert error.finding == "restore.archive_broken"
    assert "data.json cannot be read" in error.fact
    # A probe of a collection that is not told of is told as that.
    assert place.replace("probes.0", "probes") in error.fact or error.fact.split(": ")[2].startswith("vectors.")


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"[" * 100_000, b"\xff", b'{"format": 1', b'"text"', b"1"])
def test_what_is_no_object_is_refused(text: bytes) -> None:
    assert refused(text).finding == "restore.archive_broken"


@pytest.mark.parametrize("groups", [{"0a": [1]}, {"0a": 1}, {"0a": ["1", SUM]}, {"0a": [1, 2]}, {"0a": [1, SUM, 3]}])
def test_sums_of_another_shape_are_refused(groups: Any) -> None:
    error = refused(changed("collections.messages.groups", groups))
    assert "collections.messages.groups" in error.fact


def test_a_probe_is_of_vectors_that_are_there() -> None:
    for collection in ("guide", "unheard-of"):
        error = refused(changed("probes.0.collection", collection))
        assert f"vectors.{collection}" in error.fact


def test_a_newer_format_asks_for_an_upgrade_and_an_older_one_for_another_archive() -> None:
    assert refused(changed("format", FORMAT + 1)).finding == "restore.newer"
    assert refused(changed("format", FORMAT - 1)).finding == "restore.archive_broken"
