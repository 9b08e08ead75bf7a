"""Which volumes hold the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.lib import generations
from scripts.lib.failure import Failure


def test_the_first_generation_bears_the_projects_name_alone(tmp_path: Path) -> None:
    assert generations.current(tmp_path / "generation") == 1
    assert generations.volume("chatbot", 1, "mongo_data") == "chatbot_mongo_data"


def test_a_later_one_has_its_number_in_the_name(tmp_path: Path) -> None:
    generations.write(3, tmp_path / "generation")
    assert generations.current(tmp_path / "generation") == 3
    assert generations.volume("chatbot", 3, "mongo_data") == "chatbot.3_mongo_data"


def test_a_damaged_file_is_no_guess(tmp_path: Path) -> None:
    (tmp_path / "generation").write_text("")
    with pytest.raises(Failure) as refused:
        generations.current(tmp_path / "generation")
    assert refused.value.id == "data.generation_unknown"
    assert str(tmp_path / "generation") in str(refused.value)


def test_volumes_of_other_projects_are_not_ours() -> None:
    listed = "chatbot_mongo_data\nchatbot.2_chroma_data\nchatbot.2_mongo_data\nchatbot.10_words_data\n"
    others = "chatbot_prometheus_data\nchatbot2_mongo_data\nmychatbot_mongo_data\nchatbot.2_mongo_data_old\n"
    others += "chatbotx3_mongo_data\n"
    assert generations.numbers("chatbot", listed + others) == [1, 2, 10]


def test_volumes_without_conversations_are_no_data() -> None:
    assert generations.with_data("chatbot", "chatbot_caddy_data\nchatbot.2_mongo_data\nother_mongo_data\n") == [2]


def answering(monkeypatch: pytest.MonkeyPatch, status: int, volumes: str) -> list[tuple[str, ...]]:
    """Docker with these volumes; what it was asked for otherwise."""
    asked: list[tuple[str, ...]] = []

    def ask(*words: str, timeout: float = 60) -> tuple[int, str, str]:
        if words[:2] == ("volume", "ls"):
            return status, volumes, "no daemon"
        asked.append(words)
        return 0, "", ""

    monkeypatch.setattr(generations.docker_daemon, "ask", ask)
    return asked


def test_new_volumes_have_the_next_number_and_bear_composes_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, 0, "chatbot_mongo_data\nchatbot.4_mongo_data\n")
    assert generations.unused("chatbot") == 5
    generations.make("chatbot", 5)
    assert [words[-1] for words in asked] == [f"chatbot.5_{name}" for name in generations.VOLUMES]
    assert "com.docker.compose.project=chatbot" in asked[0]
    assert "com.docker.compose.volume=mongo_data" in asked[0]


def test_volumes_that_are_there_are_never_taken_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker may have been stopped when they were counted."""
    asked = answering(monkeypatch, 0, "chatbot_mongo_data\n")
    with pytest.raises(Failure) as refused:
        generations.make("chatbot", 1)
    assert refused.value.id == "data.generation_exists"
    assert asked == []


def test_a_docker_that_does_not_say_is_no_blank_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, 1, "")
    with pytest.raises(Failure) as refused:
        generations.unused("chatbot")
    assert refused.value.id == "docker.no_answer"


def test_volumes_that_were_made_go_again_where_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def ask(*words: str, timeout: float = 60) -> tuple[int, str, str]:
        asked.append(words)
        return int(words[-1] == "chatbot.2_words_data" and words[1] == "create"), "", "no space left"

    monkeypatch.setattr(generations.docker_daemon, "ask", ask)
    with pytest.raises(Failure) as refused:
        generations.make("chatbot", 2)
    assert refused.value.id == "docker.refused"
    assert asked[-1][:2] == ("volume", "rm")
    assert "chatbot.2_mongo_data" in asked[-1]
