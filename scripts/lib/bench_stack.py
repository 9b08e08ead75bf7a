"""The whole appliance as `make bench-model` talks to it: the public API, through Caddy where that stands in front."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from scripts.lib.engine_probe import Answer, events, new_text
from scripts.lib.failure import Failure
from scripts.lib.services import Inside

_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Appliance:
    """An `engine_probe.Talker` over /v1/chat/completions. `per_sentence` as the engine counts engine_probe.SENTENCE."""

    connect: Callable[[float], http.client.HTTPConnection]
    headers: Mapping[str, str]
    model: str
    per_sentence: int

    def text(self, tokens: int) -> str:
        return new_text(tokens, self.per_sentence)

    def ask(self, turns: Sequence[str], tokens: int) -> Answer:
        roles = ("user", "assistant")
        messages = [{"role": roles[number % 2], "content": text} for number, text in enumerate(turns)]
        body = {"model": self.model, "messages": messages, "max_tokens": tokens, "temperature": 0}
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        started = time.monotonic()
        times: list[float] = []
        usage: dict[str, int] = {}
        written = ""
        for event in events(self.connect(_TIMEOUT_S), "/v1/chat/completions", body, self.headers):
            piece = (event.get("choices") or [{}])[0].get("delta", {}).get("content")
            if piece:
                times.append(time.monotonic() - started)
                written += piece
            usage = event.get("usage") or usage
        if not times or not usage:
            raise RuntimeError("an answer without a token")
        return Answer(written, usage["prompt_tokens"], usage["completion_tokens"], times[0], times[-1])

    def generated_per_second(self, answer: Answer) -> float:
        return (answer.tokens - 1) / max(answer.last - answer.first, 1e-6)


@contextmanager
def own_key(appliance: Inside) -> Iterator[str]:
    """An API key for as long as the block lasts. Failure where the proxy makes none."""
    create = ["python3", "-m", "chatproxy", "keys", "create", "--name=bench-model", "--scopes=chat"]
    status, out, err = appliance.run_in("proxy", [*create, "--expires-days=1", "--json"])
    try:
        made = json.loads(out) if status == 0 else {}
        key, key_id = str(made["key"]), str(made["id"])
    except (ValueError, KeyError):
        last = (err.strip().splitlines() or ["no reason given"])[-1]
        raise Failure("bench.no_key", f"the proxy made no key: {last}", "`make status`: does the proxy run?") from None
    try:
        yield key
    finally:
        appliance.run_in("proxy", ["python3", "-m", "chatproxy", "keys", "revoke", "--", key_id])


def model_name(connect: Callable[[float], http.client.HTTPConnection], headers: Mapping[str, str]) -> str:
    """What the API calls the engine's model, which answers without a bot's system text."""
    connection = connect(30.0)
    try:
        connection.request("GET", "/v1/models", headers=dict(headers))
        answer = connection.getresponse()
        listed = json.loads(answer.read())
        return str(listed["data"][0]["id"])
    except (OSError, ValueError, KeyError, IndexError, http.client.HTTPException) as error:
        fact = f"the appliance does not list its model: {type(error).__name__}: {error}"
        raise Failure("bench.no_model", fact, "`make doctor` looks closer") from error
    finally:
        connection.close()
