"""Proxy, database and engine are killed at random moments under load: nothing that was acknowledged is lost or doubled.

The short form runs with the others; the long one (`make test-long`) kills KILLS times (1,000 unless set). KILL_SEED
repeats the moments of an earlier run, as far as the machine does.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.lib.native import ROOT, NativeStack
from tests.doubles.paced_engine import PacedEngine
from tests.integration.proxy.conftest import Client, Proxy, events_of, running_proxy, until

SHORT = 12
CLIENTS = 4
# Where what is killed comes up again, an answer must come soon; the machine may be busy with other tests.
RECOVERY_S = 60.0
_CONTINUE = 0.4  # share of questions that go on with a conversation
# After an error: long enough that most questions are asked while everything works.
_PAUSE_S = 0.2


@dataclass
class Acknowledged:
    """What one client was told. A question counts from its headers on, an answer with the 200 or the `done` event."""

    questions: dict[str, tuple[str, str]] = field(default_factory=dict)  # answer's id -> (conversation, question)
    answers: dict[str, tuple[str, str]] = field(default_factory=dict)  # answer's id -> (conversation, answer)
    asked: list[str] = field(default_factory=list)


class Visitor(threading.Thread):
    """Asks one question after the other, each unlike any other, until it is told to stop; never the same one again."""

    def __init__(self, number: int, client: Client, seed: int) -> None:
        super().__init__(daemon=True)
        self.client, self.told = client, Acknowledged()
        self._number, self._random = number, random.Random(f"{seed} {number}")
        self._stopped = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._ask()
        except BaseException as error:  # told by `end`, in the test's own thread
            self.failure = error

    def end(self) -> None:
        self._stopped.set()
        self.join(RECOVERY_S)
        assert not self.is_alive(), "a client still waits for an answer"
        if self.failure:
            raise self.failure

    def _ask(self) -> None:
        question = f"#q{self._number}x{len(self.told.asked)}# Say yes."
        known = [conversation for conversation, _ in self.told.answers.values()]
        fields: dict[str, Any] = {"bot": "brief"}
        if known and self._random.random() < _CONTINUE:
            fields = {"conversation_id": self._random.choice(known[-5:])}
        self.told.asked.append(question)
        # Whatever breaks is a connection or a status; the answer itself is looked at afterwards.
        with suppress(requests.RequestException):
            if self._random.random() < 0.5:
                self._read_stream(question, fields)
            else:
                self._read_json(question, fields)
            return
        time.sleep(_PAUSE_S)

    def _read_json(self, question: str, fields: dict[str, Any]) -> None:
        with self.client.session.post(
            f"{self.client.url}/api/v1/chat", json={"message": question, **fields}, timeout=RECOVERY_S
        ) as response:
            self._note_question(response, question)
            self._check_status(response)
            if response.status_code == 200:
                told = response.json()
                self.told.answers[told["message_id"]] = told["conversation_id"], told["answer"]

    def _read_stream(self, question: str, fields: dict[str, Any]) -> None:
        with self.client.stream(question, **fields) as response:
            self._note_question(response, question)
            self._check_status(response)
            if response.status_code != 200:
                return
            tokens: list[str] = []
            for name, data in events_of(response):
                if name == "token":
                    tokens.append(data["text"])
                if name == "done":
                    assert "".join(tokens) == data["answer"]
                    self.told.answers[data["message_id"]] = data["conversation_id"], data["answer"]

    def _note_question(self, response: requests.Response, question: str) -> None:
        if "X-Message-Id" in response.headers:
            headers = response.headers
            self.told.questions[headers["X-Message-Id"]] = headers["X-Conversation-Id"], question

    def _check_status(self, response: requests.Response) -> None:
        """An outage may be told as one, and as nothing else."""
        assert response.status_code in (200, 502, 503, 504), response.text[:300]
        if response.status_code != 200:
            time.sleep(_PAUSE_S)


class Appliance:
    """The three things that are killed."""

    def __init__(self, native: NativeStack, proxy: Proxy, engine: PacedEngine | None) -> None:
        self.native, self.proxy, self._paced = native, proxy, engine
        self.engine_url = engine.url if engine else native.engine_url

    def kill(self, what: str) -> None:
        """SIGKILL, and start it again."""
        match what, self._paced:
            case "proxy", _:
                _kill_tree(self.proxy.process)
                self._start_proxy()
            case "engine", PacedEngine() as paced:
                paced.kill()
                paced.start()
            case _:
                _kill_tree(self.native.processes[what])
                self.native.start(what)

    def is_idle(self) -> bool:
        slots = requests.get(f"{self.engine_url}/slots", timeout=5).json()
        gate = self.proxy.ready()[1]["engine"]
        return (gate["busy"], gate["waiting"]) == (0, 0) and not any(slot["is_processing"] for slot in slots)

    def _start_proxy(self) -> None:
        bind = self.proxy.url.removeprefix("http://")
        words = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "--bind", bind]
        with self.proxy.log.open("ab") as output:
            self.proxy.process = subprocess.Popen(
                words, cwd=ROOT / "proxy", env=self.proxy.environment, stdout=output, stderr=output
            )


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for a process and its children, the parent first, lest it makes new ones: what a container's end is."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    process.wait()


@contextmanager
def appliance(native: NativeStack, folder: Path, *, paced: bool) -> Iterator[Appliance]:
    """A proxy of its own over the stack's mongod, and llama.cpp or the engine by the clock."""
    with ExitStack() as stack:
        engine = stack.enter_context(PacedEngine(rate=100, tokens=24)) if paced else None
        settings = {"ENGINE_URL": engine.url} if engine else {}
        proxy = stack.enter_context(running_proxy(native, folder, ENGINE_SLOTS="2", **settings))
        killed = Appliance(native, proxy, engine)
        try:
            yield killed
        finally:
            # running_proxy ends the proxy that it began, not the one that took its place.
            if proxy.process.poll() is None:
                _kill_tree(proxy.process)
            # The stack is others' too.
            for name in ("mongo", "engine"):
                if name in native.ended() or name not in native.processes:
                    native.start(name)


def kill_and_check(killed: Appliance, kills: int, seed: int) -> None:
    clients = [killed.proxy.as_("chat") for _ in range(2)]
    # Two of them share a key, as one site's visitors do.
    visitors = [Visitor(n, Client(killed.proxy.url, clients[n % 2].key), seed) for n in range(CLIENTS)]
    for visitor in visitors:
        visitor.start()
    chance = random.Random(seed)
    counted: Counter[str] = Counter()
    for _ in range(kills):
        _until_somebody_is_answered(visitors)
        time.sleep(chance.uniform(0, 0.5))
        what = chance.choice(("proxy", "mongo", "engine"))
        counted[what] += 1
        killed.kill(what)
    _until_somebody_is_answered(visitors)
    for visitor in visitors:
        visitor.end()
    until(killed.is_idle, 10)
    assert killed.proxy.ready()[1]["checks"]["mongo"]["ok"]
    told = Acknowledged()
    for visitor in visitors:
        told.questions |= visitor.told.questions
        told.answers |= visitor.told.answers
        told.asked += visitor.told.asked
    _check(told, [stored for client in clients for stored in _conversations(client)])
    print(f"{kills} kills {dict(counted)}, {len(told.questions)} questions and {len(told.answers)} answers kept")


def _until_somebody_is_answered(visitors: list[Visitor]) -> None:
    """After this call began; so every kill meets a proxy that works."""
    before = sum(len(visitor.told.answers) for visitor in visitors)

    def answered() -> bool:
        for visitor in visitors:
            if visitor.failure:
                raise visitor.failure
        return sum(len(visitor.told.answers) for visitor in visitors) > before

    until(answered, RECOVERY_S)


def _conversations(client: Client) -> Iterator[list[dict[str, Any]]]:
    """The messages of each of the key's conversations, page by page."""
    for conversation in _pages(client, f"{client.url}/api/v1/conversations", "conversations"):
        yield list(_pages(client, f"{client.url}/api/v1/conversations/{conversation['id']}", "messages"))


def _pages(client: Client, url: str, name: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = ""
    while cursor is not None:
        parameters = {"limit": "200", **({"cursor": cursor} if cursor else {})}
        response = client.session.get(url, params=parameters, timeout=30)
        response.raise_for_status()
        page = response.json()
        yield from page[name]
        cursor = page["next_cursor"]


def _check(told: Acknowledged, conversations: list[list[dict[str, Any]]]) -> None:
    """Every acknowledged question and answer is there exactly once, to the last byte; nothing else than was asked."""
    ids = Counter(message["id"] for messages in conversations for message in messages)
    assert [message_id for message_id, times in ids.items() if times > 1] == []
    asked = Counter(m["text"] for messages in conversations for m in messages if m["role"] == "user")
    assert [question for question, times in asked.items() if times > 1] == []
    assert set(asked) <= set(told.asked)

    answers: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for messages in conversations:
        # A question and its answer's place are stored together, so they always come in pairs.
        assert [m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2)
        for question, answer in zip(messages[::2], messages[1::2], strict=True):
            answers[answer["id"]] = question, answer
    lost = [answer_id for answer_id in (*told.questions, *told.answers) if answer_id not in answers]
    assert lost == []
    for answer_id, (_, text) in told.questions.items():
        assert answers[answer_id][0]["text"] == text
    for answer_id, (_, text) in told.answers.items():
        stored = answers[answer_id][1]
        assert (stored["text"], stored["status"]) == (text, "complete")


def _seed() -> int:
    return int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(10**6))


def test_a_dozen_kills_lose_nothing(native: NativeStack, tmp_path: Path) -> None:
    seed = _seed()
    print(f"KILL_SEED={seed}")
    with appliance(native, tmp_path, paced=False) as killed:
        kill_and_check(killed, SHORT, seed)


@pytest.mark.long
def test_a_thousand_kills_lose_nothing(native: NativeStack, tmp_path: Path) -> None:
    seed = _seed()
    print(f"KILL_SEED={seed}")
    # llama.cpp would take most of the time to load its model: here the engine speaks by the clock.
    with appliance(native, tmp_path, paced=True) as killed:
        kill_and_check(killed, int(os.environ.get("KILLS") or 1000), seed)
