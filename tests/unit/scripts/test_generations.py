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
