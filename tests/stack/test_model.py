"""`make model` under running conversations: nothing is lost, and a model that does not get well changes nothing."""

from __future__ import annotations

import json
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.stack.conftest import Appliance

pytestmark = pytest.mark.stack

STARTER = "SmolLM2-135M-Instruct.Q4_1.gguf"
_QUESTIONS = ("Tell me about the sea.", "And about ships?", "Who sails them?")


class Talker(threading.Thread):
    """Holds one conversation as the chat window does: a stream that breaks off or is sent away is taken up again."""

    def __init__(self, appliance: Appliance) -> None:
        super().__init__(daemon=True)
        self._appliance = appliance
        self._session = requests.Session()
        self._session.trust_env, self._session.verify = False, appliance.session.verify
        self.enough, self.asking = threading.Event(), threading.Event()
        self.conversation = ""
        self.asked: list[str] = []
        self.answers: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self.held_back = 0

    def run(self) -> None:
        while not self.enough.is_set():
            question = f"{_QUESTIONS[len(self.asked) % 3]} ({len(self.asked)})"
            self.asked.append(question)
            try:
                self.answers.append(self._answer(question))
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                return

    def _answer(self, question: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._appliance.key}", "Idempotency-Key": uuid.uuid4().hex}
        body: dict[str, Any] = {"message": question, "stream": True, "bot": "brief"}
        if self.conversation:
            body["conversation_id"] = self.conversation
        message = ""
        for _ in range(240):
            try:
                if message:
                    path, method, given = f"/api/v1/chat/{message}/stream", "GET", None
                else:
                    path, method, given = "/api/v1/chat", "POST", body
                with self._session.request(
                    method, f"https://localhost{path}", headers=headers, json=given, stream=True, timeout=120
                ) as response:
                    message = response.headers.get("X-Message-Id", message)
                    self.conversation = response.headers.get("X-Conversation-Id", self.conversation)
                    assert response.status_code in (200, 503), response.text
                    done = self._read(response) if response.status_code == 200 else None
                if done is not None:
                    return done
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                pass
            threading.Event().wait(0.5)
        raise AssertionError("no end of it")

    def _read(self, response: requests.Response) -> dict[str, Any] | None:
        """The answer's `done`; None where the stream breaks off, or says that the proxy starts again."""
        name = ""
        for line in response.iter_lines(decode_unicode=True):
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
                self.asking.set()
            if line.startswith("data: "):
                told = json.loads(line.removeprefix("data: "))
                if name == "queued":
                    self.held_back += told["eta_s"] is None
                if name == "done":
                    return dict(told)
                if name == "error":
                    assert told["code"] == "unavailable", told
                    return None
        return None


@pytest.fixture(scope="module")
def files(appliance: Appliance) -> Iterator[Path]:
    """models/ with a second model, one that no engine can load, and half a file; afterwards the starter runs again."""
    models = appliance.folder / "models"
    (appliance.folder / "compose" / "bots" / "brief.yaml").write_text("name: Brief\nformat: auto\nmax_tokens: 24\n")
    shutil.copyfile(models / STARTER, models / "second.gguf")
    whole = (models / STARTER).read_bytes()
    (models / "half.gguf").write_bytes(whole[: len(whole) // 2])
    # The same file of an architecture that nobody knows: whole, and of no use.
    at = whole.index(b"general.architecture") + len(b"general.architecture") + 12
    assert whole[at : at + 5] == b"llama"
    (models / "unknown.gguf").write_bytes(whole[:at] + b"llamx" + whole[at + 5 :])
    yield models
    if _model(appliance) != "smollm2-135m-instruct":
        back = appliance.make("model", "NAME=smollm2-135m-instruct")
        assert back.returncode == 0, back.stdout
    for name in ("second.gguf", "half.gguf", "unknown.gguf"):
        (models / name).unlink()


def _model(appliance: Appliance) -> str:
    return str(appliance.readyz()[1]["engine"]["model"])


@pytest.mark.usefixtures("files")
def test_half_a_file_is_refused_before_anything_is_touched(appliance: Appliance) -> None:
    engine, env = appliance.containers()["engine"]["Id"], (appliance.folder / ".env").read_bytes()
    done = appliance.make("model", "NAME=half.gguf")
    assert done.returncode != 0, done.stdout
    assert "model.damaged" in done.stdout
    assert appliance.containers()["engine"]["Id"] == engine
    assert (appliance.folder / ".env").read_bytes() == env


@pytest.mark.usefixtures("files")
def test_a_model_that_does_not_get_well_gives_way_to_the_old_one(appliance: Appliance) -> None:
    env = (appliance.folder / ".env").read_bytes()
    proxy = appliance.containers()["proxy"]["Id"]
    talker = Talker(appliance)
    talker.start()
    assert talker.asking.wait(60)
    done = appliance.make("model", "NAME=unknown.gguf")
    assert done.returncode != 0, done.stdout
    assert "llamx" in done.stdout  # the engine's own log says why
    assert "smollm2-135m-instruct answers again" in done.stdout
    before = len(talker.answers)
    while len(talker.answers) == before and talker.is_alive():
        talker.join(0.2)
    talker.enough.set()
    talker.join(120)
    assert talker.errors == []
    _assert_whole(appliance, talker)
    assert (appliance.folder / ".env").read_bytes() == env
    # Nobody was sent away: the very same proxy had them wait.
    assert appliance.containers()["proxy"]["Id"] == proxy
    status, body = appliance.readyz()
    assert (status, body["engine"]["held"], body["engine"]["model"]) == (200, False, "smollm2-135m-instruct")
    assert not (appliance.folder / ".appliance" / "before-model.env").exists()


@pytest.mark.usefixtures("files")
def test_conversations_go_on_with_the_new_model_and_none_of_their_answers_is_lost_or_cut(appliance: Appliance) -> None:
    env = (appliance.folder / ".env").read_text()
    talkers = [Talker(appliance) for _ in range(3)]
    for talker in talkers:
        talker.start()
    for talker in talkers:
        assert talker.asking.wait(60)
    done = appliance.make("model", "NAME=second.gguf")
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    assert _model(appliance) == "second"
    assert "MODEL=/models/second.gguf" in appliance.containers()["engine"]["Config"]["Env"]
    counts = [len(talker.answers) for talker in talkers]
    while any(len(t.answers) <= count and t.is_alive() for t, count in zip(talkers, counts, strict=True)):
        threading.Event().wait(0.2)
    for talker in talkers:
        talker.enough.set()
    for talker in talkers:
        talker.join(120)
        assert talker.errors == []
        _assert_whole(appliance, talker)
    assert sum(talker.held_back for talker in talkers) > 0
    assert (appliance.folder / ".env").read_text() == env.replace("MODEL=smollm2-135m-instruct", "MODEL=second.gguf")
    again = appliance.make("up", SOURCES="packages")
    assert again.returncode == 0, again.stdout
    assert "nothing had to be started" in again.stdout, again.stdout


def _assert_whole(appliance: Appliance, talker: Talker) -> None:
    """Every question stands in the history with its whole answer, in the order in which they were asked."""
    messages = appliance.messages(talker.conversation)
    assert [each["text"] for each in messages if each["role"] == "user"] == talker.asked
    answers = [each for each in messages if each["role"] == "assistant"]
    assert {(each["status"], each["finish_reason"] in ("stop", "length")) for each in answers} == {("complete", True)}
    assert [each["text"] for each in answers] == [each["answer"] for each in talker.answers]
