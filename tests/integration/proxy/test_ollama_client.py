"""Ollama's own Python client against the running proxy, unchanged."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import ollama
import pytest

from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import STORY, Proxy, until
from tests.integration.proxy.test_disconnects import engine_is_idle, proxy_is_idle

SHORT = {"num_predict": 24, "temperature": 0}
A_TOOL = {"type": "function", "function": {"name": "weather", "description": "Tells the weather"}}


@pytest.fixture
def client(proxy: Proxy) -> ollama.Client:
    return ollama.Client(proxy.url, headers={"Authorization": f"Bearer {proxy.new_key('chat')}"})


def test_list_show_and_ps_name_the_models(client: ollama.Client, native: NativeStack) -> None:
    names = {model.model for model in client.list().models}
    assert {f"{native.model.stem}:latest", "assistant:latest", "companion:latest", "brief:latest"} <= names
    assert [model.model for model in client.ps().models] == [f"{native.model.stem}:latest"]
    shown = client.show("brief")
    assert shown.capabilities == ["completion"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["unknown.context_length"] == 4096


@pytest.mark.parametrize("bare", [True, False])
def test_chat_streamed_and_whole_are_the_same(client: ollama.Client, native: NativeStack, bare: bool) -> None:
    model = native.model.stem if bare else "brief"
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]
    whole = client.chat(model, messages, options=SHORT)
    assert whole.message.content
    assert (whole.done, whole.model) == (True, model)
    assert whole.eval_count is not None
    assert 0 < whole.eval_count <= 24
    assert whole.prompt_eval_count
    assert whole.total_duration
    pieces = list(client.chat(model, messages, options=SHORT, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert len(pieces) > 2
    assert (pieces[-1].done, pieces[-1].done_reason) == (True, whole.done_reason)


def test_generate_streamed_whole_and_raw(client: ollama.Client, native: NativeStack) -> None:
    whole = client.generate("brief:latest", "Say hello.", system="Rhyme.", options=SHORT)
    assert whole.response
    pieces = list(client.generate("brief:latest", "Say hello.", system="Rhyme.", options=SHORT, stream=True))
    assert "".join(piece.response or "" for piece in pieces) == whole.response
    raw = client.generate(native.model.stem, "One, two, three,", raw=True, options={**SHORT, "stop": ["seven"]})
    assert "four" in (raw.response or "")
    assert "seven" not in (raw.response or "")


def test_loading_and_errors_are_ollamas(client: ollama.Client, proxy: Proxy) -> None:
    assert client.generate("brief").done_reason == "load"
    with pytest.raises(ollama.ResponseError, match="model 'llama3' not found") as unknown:
        client.chat("llama3", [{"role": "user", "content": "x"}])
    assert unknown.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="does not support tools"):
        client.chat("brief", [{"role": "user", "content": "x"}], tools=[A_TOOL])
    with pytest.raises(ollama.ResponseError, match="4096") as too_long:
        list(client.chat("brief", [{"role": "user", "content": "many words " * 5000}], stream=True))
    assert too_long.value.status_code == 422
    with pytest.raises(ollama.ResponseError) as nobody:
        ollama.Client(proxy.url).list()
    assert nobody.value.status_code == 401


def test_waiting_writes_nothing_that_the_client_cannot_read(proxy: Proxy, native: NativeStack) -> None:
    """JSON lines have no comments: even an empty line would end the client's reading with an error."""
    busy = proxy.as_()
    running = [busy.stream(STORY) for _ in range(native.slots)]
    for response in running:
        next(response.iter_lines())
    client = ollama.Client(proxy.url, headers={"Authorization": f"Bearer {proxy.new_key('chat')}"})
    pieces = client.chat("brief", [{"role": "user", "content": "Say hello."}], options=SHORT, stream=True)
    assert [piece.done for piece in pieces][-1] is True
    for response in running:
        response.close()
    until(lambda: proxy_is_idle(proxy))


def test_a_client_that_leaves_while_waiting_or_reading_is_noticed(proxy: Proxy, native: NativeStack) -> None:
    key = proxy.new_key("chat")
    body = f'{{"model":"{native.model.stem}","messages":[{{"role":"user","content":"{STORY}"}}]}}'
    head = f"POST /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    parts = urlsplit(proxy.url)
    connections = []
    for _ in range(native.slots + 1):
        connections.append(socket.create_connection((parts.hostname or "", parts.port or 80)))
        connections[-1].sendall((head + body).encode())
    until(lambda: proxy.ready()[1]["engine"]["waiting"] == 1)
    connections.pop().close()
    until(lambda: proxy.ready()[1]["engine"]["waiting"] == 0, 3)
    for connection in connections:
        connection.close()
    until(lambda: engine_is_idle(native) and proxy_is_idle(proxy), 3)
