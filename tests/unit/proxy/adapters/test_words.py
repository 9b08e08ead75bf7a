"""The word index: what is found by which words."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from chatproxy.adapters import words
from chatproxy.adapters.words import Entry, WordIndex, WordsUnavailable


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WordIndex:
    """One that looks for changes at each question."""
    monkeypatch.setattr(words, "_LOOK_EVERY_S", -1.0)
    made = WordIndex(tmp_path / "words")
    made.put(
        {
            "refund": Entry("shop", "Returns", "You can ask for refunds within 14 days. Error E-1234.", "en"),
            "hours": Entry("shop", "Öffnungszeiten", "Sonntags haben wir geschlossen.", "de"),
            "other": Entry("secret", "Refund", "refund refund", "en"),
        }
    )
    return made


def found(index: WordIndex, text: str, collection: str = "shop") -> list[str]:
    return [hit.id for hit in index.best(collection, text, 10)]


@pytest.mark.parametrize("text", ["refund", "REFUNDS", "refunding?", "1234", "returns"])
def test_words_are_found_in_any_form(index: WordIndex, text: str) -> None:
    assert found(index, text) == ["refund"]


@pytest.mark.parametrize("text", ["offnungszeiten", "Öffnungszeit", "sonntag"])
def test_other_languages_have_their_own_stems_and_need_no_accents(index: WordIndex, text: str) -> None:
    assert found(index, text) == ["hours"]


def test_what_is_called_so_does_not_come_before_what_says_so(index: WordIndex) -> None:
    index.put(
        {
            "named": Entry("club", "Club rules", "Please wear soft shoes indoors.", "en"),
            "said": Entry("club", "Leaving", "Membership of the club ends with a letter.", "en"),
        }
    )
    assert found(index, "membership club ends", "club")[0] == "said"


def test_collections_are_apart(index: WordIndex) -> None:
    assert found(index, "refund", "secret") == ["other"]
    assert found(index, "refund", "unknown") == []


@pytest.mark.parametrize("text", ["", "?!", 'title:"', "AND (", "[* TO *]", "a" * 10_000, "refund " * 5000])
def test_no_question_is_an_error(index: WordIndex, text: str) -> None:
    assert found(index, text) in ([], ["refund"])


def test_what_is_put_again_replaces_and_what_is_removed_is_gone(index: WordIndex) -> None:
    index.put({"refund": Entry("shop", "Returns", "Now thirty days.", "en")})
    assert found(index, "thirty") == ["refund"]
    assert found(index, "1234") == []
    index.remove(["refund", "never"])
    assert found(index, "thirty") == []
    index.drop("secret")
    assert found(index, "refund", "secret") == []


def test_another_process_sees_what_was_committed(index: WordIndex, tmp_path: Path) -> None:
    reader = WordIndex(tmp_path / "words")
    assert found(reader, "refund") == ["refund"]
    index.remove(["refund"])
    assert found(reader, "refund") == []


def test_what_breaks_off_leaves_the_index_as_it_was(index: WordIndex) -> None:
    with pytest.raises(AttributeError):
        index.put({"new": Entry("shop", "New", "fresh", "en"), "bad": None})  # type: ignore[dict-item]
    assert found(index, "fresh") == []
    index.put({"new": Entry("shop", "New", "fresh", "en")})
    assert found(index, "fresh") == ["new"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WordsUnavailable, match="file"):
        WordIndex(tmp_path / "file" / "words").best("shop", "refund", 5)


def test_a_collections_size_follows_what_is_put(index: WordIndex, tmp_path: Path) -> None:
    assert (index.size("shop"), index.size("secret"), index.size("unknown")) == (2, 1, 0)
    made = WordIndex(tmp_path / "one")
    made.put({"a": Entry("shop", "A", "a"), "b": Entry("shop", "B", "b")})
    made.remove(["b"])
    assert made.size("shop") == 1


def test_a_disk_that_takes_nothing_is_told_and_forgotten_once_it_does(index: WordIndex) -> None:
    index.put({"a": Entry("shop", "Lamps", "a storm lantern")})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # the kernel refuses every byte, as a full disk does
    try:
        for _ in range(2):
            with pytest.raises(WordsUnavailable, match="cannot be written"):
                index.put({"b": Entry("shop", "Boats", "an oar")})
        assert found(index, "lantern") == ["a"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    index.put({"b": Entry("shop", "Boats", "an oar")})
    assert found(index, "oar") == ["b"]
