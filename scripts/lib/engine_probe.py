"""Times one engine from beside it: `python3 engine_probe.py '{"api": "openai", "port": 5001, ...}'` answers in JSON.

`make tune` and `make bench-model` measure with it; the latter also measures the whole appliance with what stands here.

Standard library only and complete in itself, because it is also fed to the Python of an engine's container, which no
network reaches. Times are seconds of the monotonic clock, tokens are as the engine counts them.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import secrets
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# A model far beyond this machine still answers within it; what hangs does not hold the operator for ever.
_TIMEOUT_S = 600.0
SENTENCE = "The river runs past the old mill, and the miller counts the sacks that are left for the winter. "
# A chat model that is only shown a text may say that it has read it; asked for a story it writes as much as it may.
_WISH = "\nGo on with this story. Tell at length what happened in the winter."


@dataclass(frozen=True)
class Answer:
    """One answer, times from the moment it was asked for: `first` and `last` token."""

    text: str
    prompt: int
    tokens: int
    first: float
    last: float


class Talker(Protocol):
    """What is measured: an engine, or the appliance before it."""

    def text(self, tokens: int) -> str:
        """A text of about so many tokens that nobody has seen before."""
        ...

    def ask(self, turns: Sequence[str], tokens: int) -> Answer:
        """The answer to a conversation's last turn: question, answer, question ... RuntimeError for a refusal."""
        ...

    def generated_per_second(self, answer: Answer) -> float:
        """Of the answer that was its last one."""
        ...


def new_text(tokens: int, per_sentence: int) -> str:
    """At least so many tokens, beginning with what no other text begins with."""
    return f"{secrets.token_hex(4)}: " + SENTENCE * max(1, -(-tokens // per_sentence)) + _WISH


class Engine:
    """An engine on this machine. `api` is "openai" (llama.cpp's server) or "koboldcpp"."""

    def __init__(self, api: str, port: int) -> None:
        self.kobold, self.port = api == "koboldcpp", port
        self._per_sentence = 0

    def ready(self) -> bool:
        try:
            return self._call("GET", "/api/v1/model" if self.kobold else "/health")[0] == 200
        except OSError:
            return False

    def version(self) -> str:
        """As the engine or its package calls it."""
        if self.kobold:
            return str(json.loads(self._call("GET", "/api/extra/version")[1])["version"])
        try:
            return importlib.metadata.version("xllamacpp")
        except importlib.metadata.PackageNotFoundError:
            return "unknown"

    def count(self, text: str) -> int:
        """Tokens of a text as part of a prompt, without what a prompt begins with."""
        if self.kobold:
            counted = int(json.loads(self._call("POST", "/api/extra/tokencount", {"prompt": text})[1])["value"])
            return max(1, counted - 1)
        return len(json.loads(self._call("POST", "/tokenize", {"content": text})[1])["tokens"])

    @property
    def per_sentence(self) -> int:
        """Tokens of SENTENCE."""
        self._per_sentence = self._per_sentence or self.count(SENTENCE)
        return self._per_sentence

    def text(self, tokens: int) -> str:
        return new_text(tokens, self.per_sentence)

    def ask(self, turns: Sequence[str], tokens: int) -> Answer:
        prompt = "\n".join(turns)
        if self.kobold:
            # Never trimmed and never ended early, so that each run has the same work to do.
            body = {"prompt": prompt, "max_length": tokens, "ban_eos_token": True, "genkey": secrets.token_hex(8)}  # nosec B105 - a field's name
            body |= {"temperature": 0.01, "rep_pen": 1.0, "max_context_length": self._context()}
            path = "/api/extra/generate/stream"
        else:
            body = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream": True}
            body |= {"stream_options": {"include_usage": True}}
            path = "/v1/completions"
        started = time.monotonic()
        times: list[float] = []
        usage: dict[str, int] = {}
        written = ""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        for event in events(connection, path, body):
            piece = event.get("token") if self.kobold else (event.get("choices") or [{}])[0].get("text")
            if piece:
                times.append(time.monotonic() - started)
                written += piece
            usage = event.get("usage") or usage
        if not times:
            raise RuntimeError("the engine answered without a token")
        if self.kobold:
            usage = {"prompt_tokens": self.count(prompt), "completion_tokens": self.count(written)}
        return Answer(written, usage["prompt_tokens"], usage["completion_tokens"], times[0], times[-1])

    def generated_per_second(self, answer: Answer) -> float:
        """Of the answer that was its last one.

        koboldcpp sends its first tokens in one bundle, so that only its own clock tells how long they took.
        """
        if self.kobold:
            told = json.loads(self._call("GET", "/api/extra/perf")[1])
            if told.get("last_eval") and told.get("last_token_count"):
                return float(told["last_token_count"]) / float(told["last_eval"])
        return (answer.tokens - 1) / max(answer.last - answer.first, 1e-6)

    def _context(self) -> int:
        return int(json.loads(self._call("GET", "/api/extra/true_max_context_length")[1])["value"])

    def _call(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def events(
    connection: http.client.HTTPConnection, path: str, body: object, headers: Mapping[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """The events of a streamed answer; the connection is closed after them. RuntimeError for what is no answer."""
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"HTTP {answer.status}: {answer.read(300).decode(errors='replace')}")
        for line in answer:
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])
    finally:
        connection.close()


def at_once(talker: Talker, visitors: int, prompt: int, tokens: int) -> tuple[list[Answer], float]:
    """Answers to so many visitors who ask in the same moment, and the seconds until the last one has hers."""
    texts = [talker.text(prompt) for _ in range(visitors)]
    answers: list[Answer] = []
    failures: list[BaseException] = []
    together = threading.Barrier(visitors + 1)

    def visit(text: str) -> None:
        together.wait()
        try:
            answers.append(talker.ask([text], tokens))
        except (OSError, RuntimeError, ValueError, KeyError, http.client.HTTPException) as error:
            failures.append(error)

    threads = [threading.Thread(target=visit, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    together.wait()
    started = time.monotonic()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return answers, time.monotonic() - started


def wait(engine: Engine, seconds: float) -> dict[str, bool]:
    """Until the model is loaded, or no longer than so."""
    deadline = time.monotonic() + seconds
    while not engine.ready():
        if time.monotonic() > deadline:
            return {"ready": False}
        time.sleep(0.1)
    return {"ready": True}


def size_up(engine: Engine, seconds: float, most: int) -> dict[str, int]:
    """A prompt and an answer that each take about so long here, in tokens; both together no more than `most`."""
    engine.ask([engine.text(16)], 2)  # the first one finds everything cold
    answer = engine.ask([engine.text(64)], 8)
    prompt = round(seconds * answer.prompt / answer.first)
    tokens = round(seconds * engine.generated_per_second(answer))
    return {"prompt": max(64, min(prompt, 1024, most // 2)), "tokens": max(16, min(tokens, 128, most // 4))}


def rates(engine: Engine, prompt: int, tokens: int, visitors: int) -> dict[str, float]:
    """Tokens per second: of a prompt that is read, of one answer, and of all answers to several visitors at once."""
    engine.ask([engine.text(16)], 2)
    one = engine.ask([engine.text(prompt)], tokens)
    alone = engine.generated_per_second(one)
    found = {"prompt": one.prompt / one.first, "generated": alone, "together": alone}
    if visitors > 1:
        answers, seconds = at_once(engine, visitors, 16, tokens)
        found["together"] = sum(answer.tokens for answer in answers) / seconds
    return found


def visits(talker: Talker, prompt: int, tokens: int, levels: Sequence[int]) -> dict[str, Any]:
    """One round of `make bench-model`.

    Seconds until the first token: `cold` for a conversation's first question of about `prompt` tokens, `warm` for its
    second one, a short one. Tokens per second: `read` of the prompt, `generated` of the answer. For each number of
    visitors who ask in the same moment: `together` tokens per second of all their answers from the first question to
    the last token, `first` and `slowest` the middle and the last of their first tokens.
    """
    question = talker.text(prompt)
    cold = talker.ask([question], tokens)
    generated = talker.generated_per_second(cold)
    warm = talker.ask([question, cold.text, "And what did the miller do then?"], 8)
    found: dict[str, Any] = {"read": cold.prompt / cold.first, "generated": generated}
    found |= {"cold": cold.first, "warm": warm.first, "visitors": {}}
    for level in levels:
        answers, seconds = at_once(talker, level, prompt, tokens) if level > 1 else ([cold], cold.last)
        firsts = sorted(answer.first for answer in answers)
        found["visitors"][str(level)] = {
            "together": sum(answer.tokens for answer in answers) / seconds,
            "first": statistics.median(firsts),
            "slowest": firsts[-1],
        }
    return found


def main(arguments: list[str]) -> int:
    order: dict[str, Any] = json.loads(arguments[0])
    engine = Engine(order.pop("api"), order.pop("port"))
    work = order.pop("work")
    works: dict[str, Callable[..., Any]] = {"wait": wait, "size_up": size_up, "rates": rates, "visits": visits}
    works |= {"per_sentence": lambda engine: engine.per_sentence, "version": Engine.version}
    try:
        found = works[work](engine, **order)
    except (OSError, RuntimeError, ValueError, KeyError, http.client.HTTPException) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
