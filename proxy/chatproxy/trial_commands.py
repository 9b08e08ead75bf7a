"""`python -m chatproxy try-chat`: a question to the running proxy as a client puts one, for `make upgrade`.

Over HTTP, with a key of its own, through the queue, templates, retrieval, engine and database. Key and conversation are
gone afterwards; where that is not reached, the key ends within a day.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import requests

from chatproxy.errors import ChatProxyError, ConfigurationError
from chatproxy.findings import not_done
from chatproxy.parts import keyring
from chatproxy.settings import Settings

FAMILY = "try-chat"
_QUESTION = "What is the capital of France?"
# Whom it is asked on behalf of stands in the list of keys while it lasts.
_NAME = "try of a new version"
_CONNECT_S = 10.0
# Between two events: pings come more often than that while one waits for a slow engine.
_SILENT_S = 120.0
# So much shows that it says something; a whole answer takes minutes on a slow machine.
_ENOUGH = 20


def add_parser(families: Any) -> None:
    """Its place in the whole command line."""
    families.add_parser(FAMILY, help="ask the running proxy a question as a client does; key and question are removed")


def run(environment: Mapping[str, str]) -> int:
    """Returns the exit status; what the answer begins with goes to stdout."""
    try:
        settings = Settings.from_environment(environment)
        keys = keyring(settings)
        key, record = keys.create(_NAME, frozenset({"chat"}), expires_days=1)
        try:
            print(_asked(f"http://127.0.0.1:{settings.listen[1]}", key))
        finally:
            keys.forget(record.id)
    except ConfigurationError as error:
        return not_done("setting.invalid", str(error), "correct the setting that is named")
    except ChatProxyError as error:
        return not_done("storage.unavailable", str(error), "`make status` shows whether MongoDB runs")
    except (requests.RequestException, _NoAnswerError, ValueError, KeyError) as error:
        fact = f"a question gets no answer: {error or type(error).__name__}"
        return not_done("chat.no_answer", fact, "`make logs SERVICE=proxy` shows why")
    return 0


class _NoAnswerError(Exception):
    pass


def _asked(url: str, key: str) -> str:
    with requests.Session() as client:
        client.trust_env = False
        client.headers["Authorization"] = f"Bearer {key}"
        fields = {"message": _QUESTION, "stream": True}
        conversation = ""
        try:
            with client.post(f"{url}/api/v1/chat", json=fields, stream=True, timeout=(_CONNECT_S, _SILENT_S)) as answer:
                if answer.status_code != requests.codes.ok:
                    raise _NoAnswerError(f"{answer.status_code} {answer.text[:300]}")
                conversation = answer.headers["X-Conversation-Id"]
                said = _said(answer)
            stored = client.get(f"{url}/api/v1/conversations/{conversation}", timeout=_CONNECT_S).json()
            if stored["messages"][0]["text"] != _QUESTION:
                raise _NoAnswerError("the question is not in the history")
        finally:
            if conversation:
                with suppress(requests.RequestException):
                    client.delete(f"{url}/api/v1/conversations/{conversation}", timeout=_CONNECT_S)
    return said


def _said(answer: requests.Response) -> str:
    """The beginning of what is said. Whoever leaves in the middle ends the answer."""
    said = ""
    for name, event in _events(answer):
        if name == "error":
            raise _NoAnswerError(f"{event['code']}: {event['message']}")
        if name == "token":
            said += event["text"]
        if name == "done" or len(said) >= _ENOUGH:
            break
    if not any(letter.isalnum() for letter in said):
        raise _NoAnswerError(f"to {_QUESTION!r} it says {said!r}")
    return said.strip()


def _events(answer: requests.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in answer.iter_lines(chunk_size=1):
        if line.startswith(b"event: "):
            name = line[7:].decode()
        elif line.startswith(b"data: "):
            yield name, json.loads(line[6:])
