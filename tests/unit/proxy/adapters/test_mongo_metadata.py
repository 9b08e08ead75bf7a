"""Collections described as mongodump does it; and when a document is deleted."""

from __future__ import annotations

import re
import uuid
from typing import Any
from urllib.parse import unquote

import bson
import pytest
from bson import Binary, DatetimeMS, Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.adapters import mongo_metadata
from chatproxy.adapters.mongo_snapshot import _items
from chatproxy.core.carried import Refused

INDEXES: list[dict[str, Any]] = [
    {"v": 2, "key": {"_id": 1}, "name": "_id_"},
    {
        "v": 2,
        "key": {"b": 1, "a": -1.0},
        "name": "both",
        "unique": True,
        "partialFilterExpression": {"a": {"$gt": Int64(5)}},
    },
    {"v": 2, "key": {"deep.at": 1}, "name": "expiry", "expireAfterSeconds": 60},
]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=240))
def test_a_name_is_a_files_name_and_comes_back(name: str) -> None:
    file = mongo_metadata.member(name)
    assert re.fullmatch(r"[A-Za-z0-9_.~$&+=:@%-]{1,238}", file)
    if len(file) < 238:
        assert unquote(file) == name


def test_long_names_differ_behind_their_cut() -> None:
    first, second = mongo_metadata.member("é" * 120 + "1"), mongo_metadata.member("é" * 120 + "2")
    assert len(first) == len(second) == 238
    assert first[:211] == second[:211] == f"{'%C3%A9' * 34}%C3%"[:208] + "%24"
    assert first != second


def test_options_and_indexes_come_back_with_their_types_and_order() -> None:
    key = uuid.uuid4()
    info = {
        "name": "a b",
        "type": "collection",
        "options": {"validator": {"x": Int64(1)}},
        "info": {"uuid": Binary.from_uuid(key)},
    }
    described = mongo_metadata.described(info, INDEXES)
    assert (described.name, described.view, list(described.indexes)) == ("a b", False, ["_id_", "both", "expiry"])
    told = mongo_metadata.read(described.metadata)
    assert told["options"] == {"validator": {"x": 1}}
    assert type(told["options"]["validator"]["x"]) is Int64
    assert told["indexes"] == INDEXES
    assert list(told["indexes"][1]["key"]) == ["b", "a"]
    assert type(told["indexes"][1]["key"]["a"]) is float
    assert told["uuid"] == key.hex


@pytest.mark.parametrize("info", [{"type": "timeseries"}, {"options": {"capped": True, "size": 9}}])
def test_kinds_that_cannot_be_carried_are_named(info: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="odd is a ") as caught:
        mongo_metadata.described({"name": "odd", **info}, [])
    assert caught.value.finding == "backup.kind_unknown"


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"\xff", b'{"options":{},"indexes":{},"collectionName":"a","type":"x"}']
)
def test_a_description_that_is_none(text: bytes) -> None:
    with pytest.raises(Refused) as caught:
        mongo_metadata.read(text)
    assert caught.value.finding == "restore.archive_broken"


@pytest.mark.parametrize(
    ("document", "expires"),
    [
        ({"deep": {"at": DatetimeMS(1000)}}, 61_000),
        ({"deep": {"at": [DatetimeMS(9000), "x", DatetimeMS(1000)]}}, 61_000),
        ({"deep": {"at": "2026-11-22"}}, None),
        ({"deep": {"at": None}}, None),
        ({"deep": 1}, None),
        ({}, None),
        ({"deep": {"at": DatetimeMS(2**62)}}, 2**62 + 60_000),
    ],
)
def test_when_a_document_is_deleted(document: dict[str, Any], expires: int | None) -> None:
    expiries = mongo_metadata.described({"name": "a"}, INDEXES).expiries
    first, second = bson.encode({"_id": "a", **document}), bson.encode({"_id": ObjectId("0" * 24)})
    items = _items(first + second, expiries)
    assert [(item.id, item.size, item.expires_ms) for item in items] == [
        ("a", len(first), expires),
        ("0" * 24, len(second), None),
    ]


def test_text_that_is_no_unicode_is_carried_all_the_same() -> None:
    """MongoDB takes what any driver sends; a backup does not judge it."""
    broken = bson.encode({"_id": "a", "text": "xxx"}).replace(b"xxx", b"\xff\xfe\xfd")
    assert [item.size for item in _items(broken, [])] == [len(broken)]
