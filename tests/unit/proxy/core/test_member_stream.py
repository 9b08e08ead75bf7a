"""Members of any length become a tar stream that any tar reads, parts joined by appending."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.core.member_stream import PART_BYTES, MemberStream


def _members(stream: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


@given(st.lists(st.lists(st.binary(max_size=400), max_size=8), max_size=4), st.integers(1, 300))
def test_what_is_written_comes_out(contents: list[list[bytes]], part_bytes: int) -> None:
    written = io.BytesIO()
    out = MemberStream(written.write, 1e9, part_bytes=part_bytes)
    for number, pieces in enumerate(contents):
        with out.compressed(f"m/{number}.gz") as write:
            for piece in pieces:
                write(piece)
    out.json("data.json", {"text": "ß"})
    out.end()
    assert len(written.getvalue()) % tarfile.BLOCKSIZE == 0
    joined: dict[str, bytes] = {}
    for name, content in _members(written.getvalue()):
        whole = re.sub(r"\.part\d{4,}$", "", name)
        joined[whole] = joined.get(whole, b"") + content
    assert list(joined) == [*(f"m/{number}.gz" for number in range(len(contents))), "data.json"]
    for number, pieces in enumerate(contents):
        assert gzip.decompress(joined[f"m/{number}.gz"]) == b"".join(pieces)
    assert json.loads(joined["data.json"]) == {"text": "ß"}


def test_a_short_member_is_whole_and_a_long_one_comes_in_parts() -> None:
    written = io.BytesIO()
    out = MemberStream(written.write, 0)
    with out.compressed("short.gz") as write:
        write(b"x")
    with out.compressed("long.gz") as write:
        write(os.urandom(3 * PART_BYTES + 1000))
    out.end()
    members = _members(written.getvalue())
    assert [name for name, _ in members] == [
        "short.gz",
        *(f"long.gz.part000{number}" for number in range(len(members) - 1)),
    ]
    assert len(members) == 5
    assert all(len(content) < PART_BYTES + (2 << 20) for _, content in members)


def test_names_of_any_kind_and_length() -> None:
    written = io.BytesIO()
    out = MemberStream(written.write, 0)
    names = ["n" * 300, "ä/%2F x", "a" * 99 + "ö"]
    for name in names:
        out.whole(name, name.encode())
    out.end()
    assert _members(written.getvalue()) == [(name, name.encode()) for name in names]


def test_what_breaks_off_does_not_pass_for_whole() -> None:
    """Its gzip stream has no end; and data.json does not come."""
    written = io.BytesIO()
    out = MemberStream(written.write, 0, part_bytes=100)
    packing = out.compressed("a.gz")
    packing.__enter__()(os.urandom(500_000))
    assert not packing.__exit__(ConnectionError, ConnectionError(), None)
    content = b"".join(content for _, content in _members(written.getvalue()))
    assert len(content) > 100_000
    with pytest.raises(EOFError):
        gzip.decompress(content)
