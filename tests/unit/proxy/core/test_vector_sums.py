"""Rounding in the last digit is no difference, another vector is one."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.core import vector_lines
from chatproxy.core.vector_sums import VectorSums

VECTOR = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=5)


def _vectors(many: int, seed: int = 1) -> dict[str, bytes]:
    chosen = random.Random(seed)
    return {
        f"id-{number:04d}": vector_lines.packed(vector_lines.unit([chosen.gauss(0, 1) for _ in range(384)]))
        for number in range(many)
    }


def _sums(vectors: dict[str, bytes]) -> VectorSums:
    sums = VectorSums()
    sums.add(vectors)
    return sums


def _rounded(numbers: bytes) -> bytes:
    """As Chroma does, but in every number and further."""
    return vector_lines.packed([number * (1 + 6e-8) for number in vector_lines.unpacked(numbers)])


@given(VECTOR, st.text())
def test_a_line_holds_the_very_numbers(vector: list[float], key: str) -> None:
    if "\ud800" <= max(key, default="") <= "\udfff":
        return
    packed = vector_lines.packed(vector)
    assert vector_lines.read(vector_lines.line(key, packed)) == (key, packed)
    assert list(vector_lines.unpacked(packed)) == vector


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"id":1,"vector":""}', b'{"id":"a","vector":"AAA="}', b'{"id":"a","vector":""}']
)
def test_what_is_no_vector(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        vector_lines.read(text)


def test_a_vector_of_length_one() -> None:
    assert math.isclose(math.hypot(*vector_lines.unit([3.0, 4.0, 12.0])), 1.0)
    assert vector_lines.unit([0.0, 0.0]) == [0.0, 0.0]


def test_the_last_digit_is_no_difference() -> None:
    vectors = _vectors(3000)
    told = _sums(vectors).told()
    found = _sums({key: _rounded(numbers) for key, numbers in vectors.items()})
    assert found.unlike(told) is None
    assert found.told()["sha256"] != told["sha256"]


def test_any_one_vector_is_named() -> None:
    vectors = _vectors(200)
    told, others = _sums(vectors).told(), _vectors(200, seed=2)
    for key in vectors:
        found = _sums({**vectors, key: others[key]}).unlike(told)
        assert found is not None
        assert key in found


def test_two_that_have_changed_places_are_named() -> None:
    vectors = _vectors(50)
    told = _sums(vectors).told()
    swapped = {**vectors, "id-0003": vectors["id-0004"], "id-0004": vectors["id-0003"]}
    assert set(_sums(swapped).unlike(told) or ()) >= {"id-0003", "id-0004"}


def test_one_that_is_gone_and_one_that_is_new() -> None:
    vectors = _vectors(50)
    told = _sums(vectors).told()
    assert _sums({key: vectors[key] for key in vectors if key != "id-0007"}).unlike(told) is not None
    assert "new" in (_sums({**vectors, "new": vectors["id-0000"]}).unlike(told) or ())
    assert _sums({}).unlike(_sums({}).told()) is None


def test_longer_than_the_table_of_weights() -> None:
    numbers = vector_lines.packed([0.001] * 40_000)
    assert _sums({"a": numbers}).unlike(_sums({"a": numbers}).told()) is None
