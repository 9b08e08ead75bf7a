"""The running appliance moves from llama.cpp's server to koboldcpp and back; conversations and keys stay.

koboldcpp's image is built from a stand-in source, the real one being out of reach: its server is the protocol double.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.koboldcpp_source import write
from tests.stack.conftest import Appliance
from tests.unit.proxy.web.test_kobold import CALL_OF_2023

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def with_koboldcpp(appliance: Appliance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Appliance, str]]:
    """The appliance on koboldcpp, and a conversation from before the move."""
    source: Path = tmp_path_factory.mktemp("koboldcpp") / "source"
    write(source, "1.115.1")
    conversation = appliance.chat("Said to the first engine.")["conversation_id"]
    moved = appliance.make("up", SOURCES="packages", KOBOLDCPP_SOURCE=str(source))
    assert moved.returncode == 0, moved.stdout
    assert "koboldcpp" in moved.stdout
    yield appliance, conversation
    back = appliance.make("up", SOURCES="packages")
    assert back.returncode == 0, back.stdout


def test_koboldcpp_answers_where_llamacpp_did(with_koboldcpp: tuple[Appliance, str]) -> None:
    appliance, conversation = with_koboldcpp
    assert appliance.containers()["engine"]["Config"]["Image"] == "chatbot-koboldcpp:local"
    answer = appliance.chat("Said to the second engine.", conversation_id=conversation)
    assert answer["answer"].strip()
    assert [each["role"] for each in appliance.messages(conversation)] == ["user", "assistant"] * 2


def test_the_call_of_2023_works_on_koboldcpp_too(with_koboldcpp: tuple[Appliance, str]) -> None:
    appliance, _ = with_koboldcpp
    answer = appliance.request("POST", "/api/v1/generate/", json=CALL_OF_2023)
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][0]["text"]


def test_readyz_sees_koboldcpp(with_koboldcpp: tuple[Appliance, str]) -> None:
    appliance, _ = with_koboldcpp
    status, body = appliance.readyz()
    assert status == 200
    assert body["checks"]["engine"]["ok"] is True
