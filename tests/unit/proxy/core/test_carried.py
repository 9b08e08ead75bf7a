"""What is told of a collection, and what counts as a difference from it."""

from __future__ import annotations

import hashlib
from datetime import date
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chatproxy.core.carried import Digest, Item, difference, probed

TODAY = date(2026, 11, 22)
DAY_MS = 86_400_000
NOON_MS = 1_795_348_800_000  # 2026-11-22T12:00Z


def _digest(documents: dict[str, tuple[bytes, int | None]], batch: int = 1000) -> Digest:
    digest, keys = Digest(), list(documents)
    for begin in range(0, len(keys), batch):
        part = keys[begin : begin + batch]
        items = [Item(key, len(documents[key][0]), documents[key][1]) for key in part]
        digest.add(b"".join(documents[key][0] for key in part), items)
    return digest


def _kept(many: int, expires_ms: int | None = None) -> dict[str, tuple[bytes, int | None]]:
    return {f"id-{number}": (b"document %d" % number, expires_ms) for number in range(many)}


def test_the_sum_is_that_of_all_bytes() -> None:
    told = _digest(_kept(3)).told()
    assert told["sha256"] == hashlib.sha256(b"document 0document 1document 2").hexdigest()
    assert (told["documents"], told["bytes"]) == (3, 30)


@given(
    st.dictionaries(st.text(), st.tuples(st.binary(), st.none() | st.integers(-(2**63), 2**63 - 1))), st.integers(1, 9)
)
def test_batches_make_no_difference(documents: dict[str, tuple[bytes, int | None]], batch: int) -> None:
    told, found = _digest(documents).told(), _digest(documents, batch)
    assert found.told() == told
    assert sum(many for many, _ in told["groups"].values()) == len(documents)
    assert difference(told, found, TODAY) == (None, 0)


@given(st.integers(0, 299), st.sampled_from(["changed", "gone", "new"]))
def test_one_document_is_named(number: int, what: str) -> None:
    kept = _kept(300)
    told, key = _digest(kept).told(), f"id-{number}"
    if what == "changed":
        kept[key] = (b"another", None)
    elif what == "gone":
        del kept[key]
    else:
        kept["new"] = (b"new", None)
    found, expired = difference(told, _digest(kept), TODAY)
    assert found is not None
    assert expired == 0
    assert found["documents"] == [300, len(kept)]
    assert len(found["among"]) <= 5
    if what == "changed":
        assert key in found["among"]


def test_a_changed_order_is_a_difference() -> None:
    kept = _kept(300)
    backwards = dict(reversed(kept.items()))
    assert difference(_digest(kept).told(), _digest(backwards), TODAY)[0] is not None


def test_what_expires_counts_as_gone_from_its_day_on() -> None:
    kept = {
        **_kept(100),
        "yesterday": (b"1", NOON_MS - DAY_MS),
        "today": (b"2", NOON_MS),
        "then": (b"3", NOON_MS + DAY_MS),
    }
    told = _digest(kept).told()
    assert {"2026-11-21", "2026-11-22", "2026-11-23"} <= set(told["groups"])
    del kept["yesterday"]
    assert difference(told, _digest(kept), TODAY) == (None, 1)
    del kept["today"]
    assert difference(told, _digest(kept), TODAY) == (None, 2)
    del kept["then"]
    found, expired = difference(told, _digest(kept), TODAY)
    assert found is not None
    assert expired == 2


def test_an_expired_document_that_is_another_one_is_a_difference() -> None:
    kept = {"a": (b"1", NOON_MS - DAY_MS), "b": (b"2", NOON_MS - DAY_MS)}
    told = _digest(kept).told()
    kept["a"] = (b"another", NOON_MS - DAY_MS)
    assert difference(told, _digest(kept), TODAY)[0] == {"documents": [2, 2], "among": ["a", "b"]}
    assert difference(_digest({}).told(), _digest(kept), TODAY)[0] is not None


def test_a_time_that_no_calendar_has_is_no_expiry() -> None:
    (group,) = _digest({"a": (b"1", 2**63 - 1)}).told()["groups"]
    assert len(group) == 2
    (group,) = _digest({"a": (b"1", -(2**63))}).told()["groups"]
    assert group == "0001-01-01"


@given(st.integers(0, 500), st.integers(1, 40))
def test_probes_are_spread_evenly(there: int, many: int) -> None:
    ids = [str(number) for number in range(there)]
    chosen = [int(key) for key in probed(ids, many)]
    assert len(set(chosen)) == min(there, many)
    gaps = {after - before for before, after in pairwise(chosen)}
    assert max(gaps, default=0) - min(gaps, default=0) <= 1
