"""People who use a composed appliance all the time: they talk, read, search, give files, and keep a ledger of it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

from tests.bench.composed import ledger
from tests.bench.composed.ledger import SILENCE_S, Ledger, Outcome

# What the appliance needs for them: answers that are short on a machine that does much beside, kept for a month.
BOTS = {
    "brief": "name: Brief\nsystem: Answer briefly.\nsampling: factual\nmax_tokens: 8\nretention_days: 30\n",
    "reader": "name: Reader\nsystem: Answer from the passages.\nknowledge: [site]\nsampling: factual\nmax_tokens: 8\n",
}
_QUESTIONS = (
    "Name a colour of the sea.",
    "What do lighthouses do in fog?",
    "Which lamp can be sent back?",
    "Say something about boats.",
    "How long is a mile?",
)
_TURNS = 4
_PAUSE_S, _PAUSE_AFTER_FAILURE_S = 1.0, 0.5
_READ_WITHIN_S = 90.0
_ENDS_WITHIN_S = 3.0


class Line:
    """One client's way to the appliance: its key, its trust in the appliance's own authority, its patience."""

    def __init__(self, address: str, key: str, authority: str | bool) -> None:
        self.address = address
        self.session = requests.Session()
        # Else a CA bundle named in the environment would win over the appliance's own authority.
        self.session.trust_env = False
        self.session.verify = authority
        self.session.headers["Authorization"] = f"Bearer {key}"

    def again(self) -> Line:
        """The same client on a line of its own: sessions are not for several threads."""
        key = str(self.session.headers["Authorization"]).removeprefix("Bearer ")
        return Line(self.address, key, self.session.verify or False)

    def get(self, path: str, patience_s: float = SILENCE_S) -> requests.Response:
        return self.session.get(self.address + path, timeout=patience_s)

    def post(self, path: str, body: dict[str, object], *, stream: bool = False) -> requests.Response:
        return self.session.post(self.address + path, json=body, timeout=SILENCE_S, stream=stream)


def talk(
    line: Line, book: Ledger, bot: str, question: str, conversation: str = "", leave_after: int = 0
) -> tuple[Outcome, str]:
    """One question, its answer streamed; what was acknowledged goes into the ledger. Returns the conversation too."""
    begun = time.monotonic()
    body: dict[str, object] = {"message": question, "stream": True}
    body |= {"conversation_id": conversation} if conversation else {"bot": bot}
    try:
        with line.post("/api/v1/chat", body, stream=True) as answer:
            if answer.status_code != 200:
                return book.note(ledger.judged("talk", begun, answer)), ""
            conversation = answer.headers["X-Conversation-Id"]
            told = book.acknowledge(line.session, conversation, question)
            read = ledger.read_stream(answer, leave_after)
    except requests.RequestException as error:
        return book.note(ledger.broken("talk", begun, error)), ""
    if read.end == "done":
        told.answers[read.data["message_id"]] = read.data["answer"]
    return book.note(ledger.judged_stream("talk", begun, read)), conversation


def ask(line: Line, book: Ledger, bot: str, question: str) -> Outcome:
    """The same in one piece, as programs ask."""
    begun = time.monotonic()
    try:
        answer = line.post("/api/v1/chat", {"message": question, "bot": bot})
    except requests.RequestException as error:
        return book.note(ledger.broken("ask", begun, error))
    if "X-Conversation-Id" in answer.headers:
        told = book.acknowledge(line.session, answer.headers["X-Conversation-Id"], question)
        if answer.status_code == 200:
            told.answers[answer.headers["X-Message-Id"]] = answer.json()["answer"]
    return book.note(ledger.judged("ask", begun, answer))


def look(line: Line, book: Ledger, what: str, request: Callable[[], requests.Response]) -> Outcome:
    """Anything else that is answered in one piece."""
    begun = time.monotonic()
    try:
        return book.note(ledger.judged(what, begun, request()))
    except requests.RequestException as error:
        return book.note(ledger.broken(what, begun, error))


def give(line: Line, book: Ledger, name: str, word: str) -> Outcome:
    """A file for the worker to read; good once it has been read."""
    begun = time.monotonic()
    text = f"# {word}\n\nThe harbour master's word of the day is {word}.\n"
    try:
        files = {"file": (name, text.encode(), "text/markdown")}
        address = f"{line.address}/api/v1/knowledge/sources"
        answer = line.session.post(address, files=files, data={"collection": "site"}, timeout=SILENCE_S)
    except requests.RequestException as error:
        return book.note(ledger.broken("give", begun, error))
    if answer.status_code != 202:
        return book.note(ledger.judged("give", begun, answer))
    book.files.append((answer.json()["source"]["id"], word))
    job, state = answer.json()["job"]["id"], "unknown"
    while time.monotonic() - begun < _READ_WITHIN_S:
        # Whoever asks how far it is asks again where there was no answer.
        with suppress(requests.RequestException, KeyError, ValueError):
            state = line.get(f"/api/v1/knowledge/jobs/{job}", 5).json()["state"]
        if state == "done":
            return book.note(Outcome("give", begun, time.monotonic(), "200"))
        if state in ("failed", "cancelled"):
            break
        time.sleep(0.2)
    # One that waits for a service is late, and says so; it is the cell's time to recover that tells.
    dishonest = "" if state in ("waiting", "running") else f"a given file: {state}"
    return book.note(Outcome("give", begun, time.monotonic(), f"job {state}", dishonest=dishonest))


class Crowd:
    """Runs clients in threads until it is told to stop. `kinds` are what they do, as outcomes name it."""

    kinds = ("talk", "ask", "read", "search", "give")

    def __init__(self, line: Line, book: Ledger) -> None:
        self.line, self.book = line, book
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(does, line.again()), daemon=True)
            for does in (self._talk("brief"), self._talk("reader"), self._ask, self._read, self._search, self._give)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            # One that waits for an answer is not waited for: what it would note is nobody's any more.
            thread.join(_ENDS_WITHIN_S)

    def _run(self, does: Callable[[Line], Outcome], line: Line) -> None:
        while not self._end.is_set():
            good = does(line).good
            self._end.wait(_PAUSE_S if good else _PAUSE_AFTER_FAILURE_S)

    def _talk(self, bot: str) -> Callable[[Line], Outcome]:
        going_on, turns = "", 0

        def once(line: Line) -> Outcome:
            nonlocal going_on, turns
            outcome, conversation = talk(line, self.book, bot, question(), going_on)
            turns = turns + 1 if conversation == going_on else 1
            going_on = conversation if outcome.good and turns < _TURNS else ""
            return outcome

        return once

    def _ask(self, line: Line) -> Outcome:
        return ask(line, self.book, "brief", question())

    def _read(self, line: Line) -> Outcome:
        return look(line, self.book, "read", lambda: line.get("/api/v1/conversations?limit=5"))

    def _search(self, line: Line) -> Outcome:
        body: dict[str, object] = {"query": "word of the day", "bot": "reader"}
        return look(line, self.book, "search", lambda: line.post("/api/v1/search", body))

    def _give(self, line: Line) -> Outcome:
        word = f"w{random.getrandbits(40):010x}"
        outcome = give(line, self.book, f"{word}.md", word)
        self._end.wait(1.0)
        return outcome


def question() -> str:
    """No two are the same, so that each can be found again."""
    return f"{random.choice(_QUESTIONS)} ({random.getrandbits(32):08x})"


@contextmanager
def crowd(line: Line) -> Iterator[Crowd]:
    running = Crowd(line, Ledger())
    running.start()
    try:
        yield running
    finally:
        running.stop()


def write_bots(folder: Path) -> None:
    """Into a checkout's compose/bots/."""
    for name, text in BOTS.items():
        (folder / "compose" / "bots" / f"{name}.yaml").write_text(text)
