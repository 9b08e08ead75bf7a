"""The widget's words: each language complete, nothing left over, and the same blanks to fill in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

WIDGET = Path(__file__).resolve().parents[3] / "proxy" / "chatproxy" / "widget"
LANGUAGES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(WIDGET.glob("lang/*.json"))}
ENGLISH: dict[str, str] = LANGUAGES["en"]
OTHERS = sorted(LANGUAGES.keys() - {"en"})
SCRIPTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted(WIDGET.glob("*.js")))
# Texts that may be the same letters in two languages.
_ALIKE = {"log", "seconds", "minutes", "sources", "menu", "email"}


def _blanks(text: str) -> list[str]:
    return sorted(re.findall(r"\{(\w+)\}", text))


def test_the_script_offers_the_languages_that_there_are() -> None:
    found = re.search(r"LANGUAGES = (\[[^\]]*\])", SCRIPTS)
    assert found and set(json.loads(found[1])) == set(LANGUAGES)
    assert {"en", "de", "fr", "es", "lv"} <= set(LANGUAGES)


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_every_text_and_no_other(language: str) -> None:
    assert LANGUAGES[language].keys() == ENGLISH.keys()


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_fills_in_the_same_values(language: str) -> None:
    texts = LANGUAGES[language]
    assert {key: _blanks(texts[key]) for key in texts} == {key: _blanks(ENGLISH[key]) for key in texts}


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_text_is_one_line_of_words(language: str) -> None:
    for key, text in LANGUAGES[language].items():
        assert text == text.strip() and text and "\n" not in text and "<" not in text, key


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_was_left_in_english(language: str) -> None:
    same = {key for key, text in LANGUAGES[language].items() if text == ENGLISH[key]}
    assert same <= _ALIKE


def test_every_text_that_the_scripts_name_exists_and_none_is_idle() -> None:
    named = set(re.findall(r"\bt\(\s*\"(\w+)\"", SCRIPTS))
    assert named <= ENGLISH.keys()
    # Those that are put together: of errors by the server's code, of actions and ratings by their names.
    assert "error_${error.code}" in SCRIPTS
    words = set(re.findall(r"\"(\w+)\"", SCRIPTS))
    idle = {key for key in ENGLISH if key not in named | words and not key.startswith("error_")}
    assert idle == set()


def test_every_error_that_a_visitor_can_meet_has_words() -> None:
    codes = {"busy", "context_too_long", "engine_error", "engine_timeout", "internal_error", "invalid_request",
             "mail_failed", "not_found", "origin_not_allowed", "rate_limited", "storage_full",
             "storage_unavailable", "too_large", "unavailable", "offline"}  # fmt: skip
    assert {f"error_{code}" for code in codes} <= ENGLISH.keys()
