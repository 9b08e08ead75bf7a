"""Stop strings never leak, nothing else is lost, and the cut of the stream into pieces does not matter."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from chatproxy.core.stops import StopFilter, TrimFilter

SHORT = st.text(alphabet="ab<|>\n🙂", max_size=30)
STOPS = st.lists(st.text(alphabet="ab<|>\n", min_size=1, max_size=5), max_size=4)


def filtered(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    stop_filter = StopFilter(stops)
    text = "".join(stop_filter.feed(piece) for piece in pieces)
    return text + stop_filter.flush(), stop_filter.stopped


@given(text=SHORT, stops=STOPS, cut=st.integers(0, 30))
@example(text="xabcd", stops=["abcd", "bc"], cut=4)
def test_the_result_is_the_same_at_every_split(text: str, stops: list[str], cut: int) -> None:
    whole = filtered([text], stops)
    assert filtered([text[:cut], text[cut:]], stops) == whole
    assert filtered(list(text), stops) == whole


@given(text=SHORT, stops=STOPS)
def test_text_up_to_the_first_complete_stop_comes_out(text: str, stops: list[str]) -> None:
    out, stopped = filtered(list(text), stops)
    assert text.startswith(out)
    assert not any(stop in out for stop in stops)
    assert stopped == any(stop in text for stop in stops)
    if not stopped:
        assert out == text


def test_half_a_stop_string_at_the_end_is_answer() -> None:
    assert filtered(["Use ", "<|", "im_"], ["<|im_end|>"]) == ("Use <|im_", False)


def test_a_stop_over_three_pieces_is_never_seen() -> None:
    stop_filter = StopFilter(["\nYou:"])
    assert [stop_filter.feed(piece) for piece in ("Hi.", "\n", "Yo", "u: me")] == ["Hi.", "", "", ""]
    assert stop_filter.stopped


@given(st.lists(st.text(alphabet="a \n\t", max_size=6), max_size=8))
def test_trimming_a_stream_equals_trimming_the_text(pieces: list[str]) -> None:
    trim = TrimFilter()
    assert "".join(trim.feed(piece) for piece in pieces) == "".join(pieces).strip()
