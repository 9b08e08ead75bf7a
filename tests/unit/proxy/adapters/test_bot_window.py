"""What a bot's file says about its chat window: read to the letter, and mistakes named with their line."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatproxy.adapters.bot_fields import BotReader
from chatproxy.adapters.bot_window import contrast
from chatproxy.core.types import Bot, Theme
from chatproxy.errors import ConfigurationError

FULL = """\
name: Full
quick_replies: ["Where is my order?", "1 + 1?"]
languages: [de, en, "no"]
theme:
  accent: "#0B57D0"
  accent_text: "#ffffff"
  color_scheme: dark
  position: left
origins:
  - https://example.com
  - http://localhost:8080
  - https://xn--bcher-kva.example
  - http://[::1]:5000
handoff_email: help@example.com
consent: |
  Answers are made by a machine.
  Agree?
"""


def read(text: str) -> Bot:
    return BotReader({"chatml"}, {"balanced"}).read("full", text)


def test_a_chat_windows_fields_are_read() -> None:
    assert read(FULL) == Bot(
        "full",
        "Full",
        quick_replies=("Where is my order?", "1 + 1?"),
        languages=("de", "en", "no"),
        theme=Theme("#0b57d0", "#ffffff", "dark", "left"),
        origins=("https://example.com", "http://localhost:8080", "https://xn--bcher-kva.example", "http://[::1]:5000"),
        handoff_email="help@example.com",
        consent="Answers are made by a machine.\nAgree?",
    )


def test_without_them_the_widget_decides() -> None:
    bot = read("name: A\n")
    assert (bot.quick_replies, bot.languages, bot.origins) == ((), (), ())
    assert (bot.theme, bot.handoff_email, bot.consent) == (Theme("", "", "", ""), "", "")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("quick_replies: Hello", 2, "quick_replies is not a list of replies"),
        ("quick_replies: [a, b, c, d, e, f, g, h, i]", 2, "quick_replies has 9 replies, at most 8 are allowed"),
        (f"quick_replies:\n  - a\n  - {'x' * 81}", 4, "quick_replies[2] has 81 characters, at most 80 are allowed"),
        ('quick_replies:\n  - ""', 3, "quick_replies[1] is empty"),
        ('quick_replies:\n  - "a\\nb"', 3, "quick_replies[1] is not one line"),
        ("languages: [en, no]", 2, "languages[2] is no, not text; write it in quotes"),
        ("languages: [en, English]", 2, "languages[2] is 'English', not a language's code as en"),
        ("theme: blue", 2, "theme is not a group of fields"),
        ("theme:\n  colour: red", 3, "'colour' is not a field of a theme; fields are accent, accent_text"),
        ("theme:\n  accent: blue", 3, "theme.accent is 'blue', not a colour as \"#0b57d0\""),
        ("theme:\n  accent: #0b57d0", 3, 'theme.accent is empty; a colour stands in quotes, as "#0b57d0"'),
        ('theme:\n  accent: "#fff"', 3, "theme.accent is '#fff', not a colour"),
        ('theme:\n  accent: "#0b57d0;}"', 3, "not a colour"),
        ('theme:\n  accent_text: "#ffffff"', 3, "the text on theme.accent, which is missing"),
        ("theme:\n  position: top", 3, "there is no position 'top'; known are right, left"),
        ("theme:\n  color_scheme: pink", 3, "there is no color_scheme 'pink'; known are auto, light, dark"),
        ("origins: https://example.com", 2, "origins is not a list of origins"),
        ("handoff_email: support", 2, "handoff_email is 'support', not an e-mail address: "),
        ("handoff_email: a@b.example, c@d.example", 2, "not an e-mail address"),
        ('handoff_email: "a@b.example\\nBcc: c@d.example"', 2, "not an e-mail address"),
        (f"consent: {'x' * 2001}", 2, "consent has 2001 characters, at most 2000 are allowed"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(reason)) as refused:
        read(f"name: A\n{text}\n")
    assert str(refused.value).startswith(f"line {line}: ")


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "example.com",
            "https://example.com/",
            "https://Example.com",
            "https://example.com:443",
            "http://a.example:80",
        ),
        *(
            "https://a.example:0",
            "https://a.example:65536",
            "https://a.example:",
            "https://a.example:0443",
            "ftp://a.b",
        ),
        *(
            "https://*.example.com",
            "*",
            "null",
            "https://user@a.example",
            "https://a.example?x",
            "https://a.example#x",
        ),
        *("https://bücher.example", "https://a..example", "https://-a.example", "https://", "https://[::1", "file://"),
        *("http://[0:0:0:0:0:0:0:1]", "HTTPS://a.example", "https://a.example.", "https://a b.example"),
    ],
)
def test_an_origin_is_what_a_browser_sends_and_nothing_else(origin: str) -> None:
    with pytest.raises(ConfigurationError, match=r"line 3: origins\[1\] is "):
        read(f"name: A\norigins:\n  - {json.dumps(origin)}\n")


# Figures of the W3C's own tools for these pairs.
@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [
        ("#000000", "#ffffff", 21.0),
        ("#777777", "#ffffff", 4.48),
        ("#767676", "#ffffff", 4.54),
        ("#ff0000", "#ffffff", 4.0),
        ("#0000ff", "#ffffff", 8.59),
        ("#123456", "#123456", 1.0),
    ],
)
def test_the_contrast_is_wcags(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio, abs=0.005)
    assert contrast(one, other) == contrast(other, one)


def test_what_cannot_be_read_is_refused_with_the_figure() -> None:
    told = "line 4: theme.accent_text: #ffffff on #777777 has a contrast of 4.47:1, at least 4.5:1 is needed"
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        read('name: A\ntheme:\n  accent: "#777777"\n  accent_text: "#ffffff"\n')
    assert read('name: A\ntheme:\n  accent: "#767676"\n  accent_text: "#ffffff"\n').theme.accent == "#767676"


@given(st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}"))
def test_an_accent_alone_gets_text_that_can_be_read_on_it(accent: str) -> None:
    theme = read(f'name: A\ntheme:\n  accent: "{accent}"\n').theme
    assert theme.accent_text in ("#ffffff", "#000000")
    assert contrast(theme.accent, theme.accent_text) >= 4.5
