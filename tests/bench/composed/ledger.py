"""What clients of a composed appliance were told, and whether it was true.

An appliance may refuse, and say so; it may not invent, forget or fall silent. Dishonest is: a 500, an error without a
code, a trace of our code, a stream that ends as if it were whole, an answer other than its own words; lost is what was
acknowledged and is not there afterwards.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

# With these an answer ends; a client that comes back finds the conversation as it was told.
_ENDS = ("done", "error")
# A stream pings every five seconds, and an answer of eight tokens in one piece takes seconds on the busiest machine:
# whoever hears nothing at all for so long was forgotten.
SILENCE_S = 120.0


@dataclass(frozen=True)
class Outcome:
    """One request as its client saw it. Moments are time.monotonic(); `first` of the first token, 0 without one.

    `said`: "200", "503 storage_unavailable", "200, then error engine_error", "refused", "cut off", "silent".
    """

    what: str
    begun: float
    ended: float
    said: str
    first: float = 0.0
    dishonest: str = ""

    @property
    def good(self) -> bool:
        return self.said == "200" and not self.dishonest


@dataclass
class Told:
    """What was acknowledged of one conversation: questions that are stored, answers that are whole (id -> text)."""

    owner: requests.Session
    questions: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)


class Ledger:
    """Outcomes and acknowledgements of all clients. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []
        self._told: dict[str, Told] = {}
        # Given and taken in; (name of the file, a word that stands in no other)
        self.files: list[tuple[str, str]] = []

    def note(self, outcome: Outcome) -> Outcome:
        with self._lock:
            self._outcomes.append(outcome)
        return outcome

    def acknowledge(self, session: requests.Session, conversation: str, question: str) -> Told:
        with self._lock:
            told = self._told.setdefault(conversation, Told(session))
            told.questions.append(question)
            return told

    def since(self, moment: float, until: float = float("inf")) -> list[Outcome]:
        """Requests that were under way between the two."""
        with self._lock:
            return [each for each in self._outcomes if each.ended >= moment and each.begun <= until]

    def conversations(self) -> dict[str, Told]:
        with self._lock:
            return dict(self._told)

    def forget(self) -> None:
        """What has been checked need not be checked again."""
        with self._lock:
            self._told.clear()
            self.files.clear()


def lost(address: str, told: dict[str, Told]) -> Iterator[str]:
    """What was acknowledged and is not there, in words. The appliance must be well."""
    for conversation, each in told.items():
        answer = each.owner.get(f"{address}/api/v1/conversations/{conversation}?limit=100", timeout=30)
        if answer.status_code != 200:
            yield f"conversation {conversation}: {answer.status_code}"
            continue
        stored: list[dict[str, Any]] = answer.json()["messages"]
        asked = Counter(message["text"] for message in stored if message["role"] == "user")
        for question, times in Counter(each.questions).items():
            if asked[question] < times:
                yield f"question in {conversation}: told {times} times, stored {asked[question]} times"
        texts = {message["id"]: (message["text"], message["status"]) for message in stored}
        for message, text in each.answers.items():
            if texts.get(message) != (text, "complete"):
                yield f"answer {message} in {conversation} is not the one that was told"


def judged(what: str, begun: float, answer: requests.Response) -> Outcome:
    """An answer that is no stream."""
    said, dishonest = _refusal(answer) if answer.status_code >= 400 else ("200", "")
    return Outcome(what, begun, time.monotonic(), said, dishonest=dishonest)


def _refusal(answer: requests.Response) -> tuple[str, str]:
    status = answer.status_code
    try:
        error = answer.json()["error"]
        code, words = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return f"{status}", f"{status} without a code: {answer.text[:80]!r}"
    said = f"{status} {code}"
    if status == 500 or code == "internal_error":
        return said, said
    if "Traceback" in words or ".py" in words:
        return said, f"{said} shows our code"
    if status in (429, 503) and "Retry-After" not in answer.headers:
        return said, f"{said} without Retry-After"
    return said, ""


@dataclass
class Streamed:
    """An answer's events as they were read."""

    text: str = ""
    first: float = 0.0
    end: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def read_stream(answer: requests.Response, leave_after: int = 0) -> Streamed:
    """Reads events; `leave_after` so many tokens the client goes (0 = it stays). Raises what requests raises."""
    read, name, tokens = Streamed(), "", 0
    for line in answer.iter_lines(chunk_size=1):
        if line.startswith(b"event: "):
            name = line[7:].decode()
        elif line.startswith(b"data: "):
            data = json.loads(line[6:])
            if name == "token":
                read.first = read.first or time.monotonic()
                read.text += data["text"]
                tokens += 1
                if tokens == leave_after:
                    read.end = "left"
                    return read
            elif name == "replace":
                read.text = data["text"]
            elif name in _ENDS:
                read.end, read.data = name, data
    return read


def judged_stream(what: str, begun: float, read: Streamed) -> Outcome:
    said, dishonest = "200", ""
    if read.end == "left":
        said = "left"
    elif read.end == "error":
        said = f"200, then error {read.data.get('code')}"
        dishonest = said if read.data.get("code") in (None, "internal_error") else ""
    elif read.end == "done" and read.data.get("answer") != read.text.strip():
        dishonest = "an answer other than its own words"
    elif not read.end:
        dishonest = "a stream that ended as if it were whole"
    return Outcome(what, begun, time.monotonic(), said, read.first, dishonest)


def broken(what: str, begun: float, error: requests.RequestException) -> Outcome:
    """No answer, or not all of one: the line itself told the client."""
    if isinstance(error, requests.ReadTimeout):
        silent = f"silent for {SILENCE_S:.0f} s"
        return Outcome(what, begun, time.monotonic(), "silent", dishonest=silent)
    cut = isinstance(error, requests.exceptions.ChunkedEncodingError) or "RemoteDisconnected" in str(error)
    return Outcome(what, begun, time.monotonic(), "cut off" if cut else "refused")


def counted(outcomes: Iterable[Outcome]) -> Counter[str]:
    return Counter(each.said for each in outcomes)
