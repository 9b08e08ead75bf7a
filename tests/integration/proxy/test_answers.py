"""Real answers from a real model, kept in a real database."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import Proxy, events_of
from tests.unit.proxy.web.test_kobold import CALL_OF_2023


def test_every_dependency_is_ready(proxy: Proxy, native: NativeStack) -> None:
    status, body = proxy.ready()
    assert body["checks"] == {name: {"ok": True} for name in ("engine", "mongo", "chroma", "embeddings")}
    assert status == 200
    assert body["engine"] == {"model": native.model.stem, "slots": native.slots, "busy": 0, "waiting": 0, "held": False}


def test_an_answer_and_its_history(proxy: Proxy) -> None:
    client = proxy.as_()
    response = client.chat("Say hello in one short sentence.")
    assert response.status_code == 200
    body = response.json()
    assert body["answer"].strip()
    assert body["usage"]["completion_tokens"] > 0
    read = client.conversation(body["conversation_id"])
    assert [(m["role"], m["text"], m["status"]) for m in read["messages"]] == [
        ("user", "Say hello in one short sentence.", "complete"),
        ("assistant", body["answer"], "complete"),
    ]
    assert read["messages"][1]["id"] == body["message_id"]


def test_the_second_turn_sees_the_first(proxy: Proxy) -> None:
    client = proxy.as_()
    first = client.chat("Remember this: " + "the lighthouse is painted green and white. " * 10).json()
    second = client.chat("Go on.", conversation_id=first["conversation_id"]).json()
    alone = client.chat("Go on.").json()
    seen = second["usage"]["prompt_tokens"] - alone["usage"]["prompt_tokens"]
    assert seen >= 80 + first["usage"]["completion_tokens"] - 2  # the first turn's words, and the answer to it


def test_a_stream_is_the_same_text_as_its_end(proxy: Proxy) -> None:
    client = proxy.as_()
    response = client.stream("Count from one to ten.")
    events = list(events_of(response))
    pieces = [data["text"] for name, data in events if name == "token"]
    name, done = events[-1]
    assert name == "done"
    assert len(pieces) > 1
    assert "".join(pieces) == done["answer"]
    assert "<|im_end|>" not in done["answer"]
    assert client.conversation(done["conversation_id"])["messages"][-1]["text"] == done["answer"]


@pytest.mark.parametrize("path", ["/api/v1/generate/", "/api/latest/generate"])
def test_the_curl_call_of_2023_works_with_an_added_header(proxy: Proxy, tmp_path: Path, path: str) -> None:
    data = tmp_path / "data.json"
    data.write_text(json.dumps(CALL_OF_2023))
    words = ["curl", "-sS", "-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {proxy.new_key()}"]
    called = subprocess.run(
        [*words, "--data", f"@{data}", proxy.url + path], capture_output=True, text=True, check=True
    )
    (result,) = json.loads(called.stdout)["results"]
    assert result["text"].strip()
    assert result["finish_reason"] in ("stop", "length")
    assert 0 < result["completion_tokens"] <= 80


def test_what_does_not_fit_is_refused_with_the_numbers(proxy: Proxy) -> None:
    response = proxy.as_().chat("many words " * 5000)
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["code"] == "context_too_long"
    assert "4096" in error["message"]


def test_a_long_conversation_is_told_to_be_cut_and_still_answered(proxy: Proxy) -> None:
    client = proxy.as_()
    first = client.chat("A long report. " + "The harbour was quiet. " * 400).json()
    assert first["context_truncated"] is False
    second = client.chat(
        "And the rest. " + "The harbour was quiet. " * 400, conversation_id=first["conversation_id"]
    ).json()
    assert second["context_truncated"] is True
    assert second["usage"]["prompt_tokens"] < 4096
