"""Events and characters come out whole, wherever the bytes were cut."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.adapters.sse import EventParser, SurrogateJoiner
from chatproxy.errors import EngineFailure

TEXTS = st.lists(st.text(max_size=12), max_size=6)


@given(texts=TEXTS, cuts=st.lists(st.integers(0, 300), max_size=6), end=st.sampled_from(["\n", "\r\n"]))
def test_events_survive_every_cut(texts: list[str], cuts: list[int], end: str) -> None:
    stream = "".join(
        f": comment{end}event: message{end}data: {json.dumps(text, ensure_ascii=False)}{end}{end}" for text in texts
    ).encode()
    places = sorted({0, *(min(cut, len(stream)) for cut in cuts), len(stream)})
    parser = EventParser()
    found = [data for a, b in itertools.pairwise(places) for data in parser.feed(stream[a:b])]
    assert [json.loads(data) for data in found] == texts


def test_data_without_a_space_and_over_two_lines() -> None:
    assert EventParser().feed(b"data:a\ndata:  b\n\n") == ["a\n b"]


def test_a_line_without_end_is_refused() -> None:
    parser = EventParser()
    with pytest.raises(EngineFailure):
        for _ in range(20):
            parser.feed(b"x" * 100_000)


@given(text=st.text(st.characters(min_codepoint=0x10000), max_size=6), data=st.data())
def test_a_character_cut_into_surrogates_is_joined(text: str, data: st.DataObject) -> None:
    halves = text.encode("utf-16-le", "surrogatepass")
    units = [halves[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(halves), 2)]
    cut = data.draw(st.integers(0, len(units)))
    joiner = SurrogateJoiner()
    assert joiner.feed("".join(units[:cut])) + joiner.feed("".join(units[cut:])) + joiner.flush() == text


@given(
    st.lists(st.text(st.characters(), max_size=4) | st.sampled_from(["\ud83d", "\ude42", "\ud83d\ud83d"]), max_size=6)
)
def test_whatever_comes_can_be_encoded(pieces: list[str]) -> None:
    joiner = SurrogateJoiner()
    out = "".join(joiner.feed(piece) for piece in pieces) + joiner.flush()
    out.encode()
    joined = "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert out == joined or "\ufffd" in out
