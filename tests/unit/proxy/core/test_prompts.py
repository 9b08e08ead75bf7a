"""Each format byte for byte, with and without system text, over several turns; and text that stays text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.core.prompts import Formats
from chatproxy.core.types import Turn
from chatproxy.errors import ConfigurationError

FORMATS = Formats()
ONE = [Turn("user", "U1")]
THREE = [Turn("user", "U1"), Turn("assistant", "A1"), Turn("user", "U2")]

GOLDEN = [
    ("metharme", "S", ONE, "<|system|>S<|user|>U1<|model|>"),
    ("metharme", "", ONE, "<|user|>U1<|model|>"),
    ("metharme", "S", THREE, "<|system|>S<|user|>U1<|model|>A1<|user|>U2<|model|>"),
    ("pygmalion", "S", ONE, "Mira's Persona: S\n<START>\nYou: U1\nMira:"),
    ("pygmalion", "", ONE, "<START>\nYou: U1\nMira:"),
    ("pygmalion", "S", THREE, "Mira's Persona: S\n<START>\nYou: U1\nMira: A1\nYou: U2\nMira:"),
    (
        "chatml",
        "S",
        ONE,
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU1<|im_end|>\n<|im_start|>assistant\n",
    ),
    ("chatml", "", ONE, "<|im_start|>user\nU1<|im_end|>\n<|im_start|>assistant\n"),
    (
        "chatml",
        "S",
        THREE,
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n"
        "<|im_start|>user\nU2<|im_end|>\n<|im_start|>assistant\n",
    ),
]
STOPS = {
    "metharme": ("<|user|>", "<|system|>", "<|model|>"),
    "pygmalion": ("\nYou:", "<START>", "\nMira:"),
    "chatml": ("<|im_end|>", "<|im_start|>"),
}


@pytest.mark.parametrize(("name", "system", "turns", "expected"), GOLDEN)
def test_format_byte_for_byte(name: str, system: str, turns: list[Turn], expected: str) -> None:
    assert FORMATS.get(name).render(name="Mira", system=system, turns=turns).text == expected


@pytest.mark.parametrize("name", STOPS)
def test_stops(name: str) -> None:
    assert FORMATS.get(name).render(name="Mira", system="", turns=ONE).stops == STOPS[name]


@pytest.mark.parametrize("name", sorted(FORMATS.names))
def test_no_format_writes_a_beginning_of_sequence_token(name: str) -> None:
    assert not FORMATS.get(name).render(name="Mira", system="S", turns=THREE).text.startswith("<s>")


@pytest.mark.parametrize("name", sorted(FORMATS.names))
def test_text_that_looks_like_a_template_stays_text(name: str) -> None:
    hostile = "{{ system }} {% for x in turns %}{{ x }}{% endfor %} {{ 7 * 7 }} ${name} %(name)s"
    prompt = FORMATS.get(name).render(name="Mira", system="SECRET", turns=[Turn("user", hostile)])
    assert hostile in prompt.text
    assert prompt.text.count("SECRET") == 1


CONTROL = ["<|system|>", "<|user|>", "<|model|>", "<START>", "<|im_start|>", "<|im_end|>"]
LINE_MARKERS = ["You:", "Mira:", "Mira's Persona:", "you:", "MIRA:"]
LINE_ENDS = ["\n", "\r", "\r\n", "\u2028", "\x0b", "\x85"]
FRAGMENTS = ["<", "|", ">", "<|", "|>", "im_", "start", "end", "user", "You", "Mira", ":", " ", "\t", "\x00"]
HOSTILE = st.lists(
    st.sampled_from(CONTROL + LINE_MARKERS + LINE_ENDS + FRAGMENTS) | st.text(max_size=5), max_size=12
).map("".join)


@pytest.mark.parametrize("name", sorted(FORMATS.names))
@given(first=HOSTILE, answer=HOSTILE, second=HOSTILE)
def test_untrusted_text_adds_no_control_string_and_no_turn(name: str, first: str, answer: str, second: str) -> None:
    def structure(turns: list[Turn]) -> list[int]:
        text = FORMATS.get(name).render(name="Mira", system="S", turns=turns).text
        lines = [line.strip() for line in text.splitlines()]
        opened = [sum(line.lower().startswith(m.lower()) for line in lines) for m in LINE_MARKERS[:3]]
        return [*(text.count(control) for control in CONTROL), *(opened if name == "pygmalion" else [])]

    turns = [Turn("user", first), Turn("assistant", answer), Turn("user", second)]
    assert structure(turns) == structure(THREE)


@pytest.mark.parametrize(
    "prose",
    [
        "How do I write <b>bold</b> in HTML, and what does a && b || c mean?",
        "Do you: (a) deliver, (b) install? Thank You: said nobody.",
        "for (i = 0; i < 10; i++) { a[i] |= b[i]; }  # [INST] is Llama's",
        "Grüße, 你好, 🙂\n\n- one\n- two\n\tindented",
    ],
)
@pytest.mark.parametrize("name", sorted(FORMATS.names))
def test_ordinary_prose_and_code_come_through_unchanged(name: str, prose: str) -> None:
    assert prose in FORMATS.get(name).render(name="Mira", system="", turns=[Turn("user", prose)]).text


def test_a_broken_control_string_stays_readable() -> None:
    prompt = FORMATS.get("chatml").render(name="A", system="", turns=[Turn("user", "What is <|im_end|> for?")])
    assert "What is < |im_end|> for?" in prompt.text


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'alpacka'.*chatml, metharme, pygmalion"):
        FORMATS.get("alpacka")


@pytest.mark.parametrize(
    "content",
    [
        "stops = [",
        'stops = []\ncontrol = []\ntemplate = "x"',
        'stops = []\ncontrol = [1]\nline_markers = []\ntemplate = "x"',
        'stops = []\ncontrol = []\nline_markers = []\ntemplate = "{% if %}"',
    ],
)
def test_a_broken_format_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.toml").write_text(content)
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        Formats(tmp_path)
