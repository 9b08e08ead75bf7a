"""A lost stream goes on without a lost or doubled word, an answer can be cancelled, a dead engine is stepped over."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.lib.native import NativeStack, free_port
from tests.integration.proxy.conftest import STORY, Client, Proxy, events_of, running_proxy, until
from tests.integration.proxy.test_disconnects import engine_is_idle, newest_messages, proxy_is_idle


def resume(client: Client, message_id: str, last_event_id: int) -> list[tuple[str, Any]]:
    headers = {"Last-Event-ID": str(last_event_id)}
    address = f"{client.url}/api/v1/chat/{message_id}/stream"
    with client.session.get(address, headers=headers, stream=True, timeout=120) as response:
        return list(events_of(response))


def heard_of(events: Iterator[tuple[str, Any]], tokens: int) -> str:
    texts = (data["text"] for name, data in events if name == "token")
    return "".join(itertools.islice(texts, tokens))


def test_a_lost_stream_goes_on_exactly_where_it_broke(proxy: Proxy) -> None:
    client = proxy.as_()
    response = client.stream(STORY, bot="steady")
    heard = heard_of(events_of(response), 10)
    response.close()
    until(lambda: proxy_is_idle(proxy))
    events = resume(client, response.headers["X-Message-Id"], len(heard))
    name, done = events[-1]
    assert name == "done"
    told = "".join(data["text"] for kind, data in events if kind == "token")
    assert heard + told == done["answer"]
    assert newest_messages(client)[1]["text"] == done["answer"]
    assert newest_messages(client)[1]["status"] == "complete"


def test_a_stream_whose_loss_nobody_has_noticed_is_taken_over(proxy: Proxy) -> None:
    client = proxy.as_()
    response = client.stream(STORY)
    events = events_of(response)
    heard = heard_of(events, 10)
    other: list[tuple[str, Any]] = []
    reader = threading.Thread(target=lambda: other.extend(events))
    reader.start()
    resumed = resume(Client(proxy.url, client.key), response.headers["X-Message-Id"], len(heard))
    reader.join(30)
    assert other[-1][0] == "error"
    assert other[-1][1]["code"] == "taken_over"
    told = "".join(data["text"] for kind, data in resumed if kind == "token")
    assert heard + told == resumed[-1][1]["answer"]


@pytest.mark.parametrize("moment", ["waiting", "reading", "generating"])
def test_cancelling_frees_the_engine_within_a_second(proxy: Proxy, native: NativeStack, moment: str) -> None:
    client, others = proxy.as_(), proxy.as_()
    busy = [others.stream(STORY) for _ in range(native.slots if moment == "waiting" else 0)]
    question = "A word or two. " * 550 if moment == "reading" else STORY
    response = client.stream(question)
    events = events_of(response)
    if moment == "generating":
        heard_of(events, 3)
    elif moment == "reading":
        until(lambda: not engine_is_idle(native))
    begun = time.monotonic()
    address = f"{client.url}/api/v1/chat/{response.headers['X-Message-Id']}/cancel"
    assert Client(client.url, client.key).session.post(address, timeout=10).json() == {"cancelled": True}
    if not busy:
        until(lambda: engine_is_idle(native), 5)
        assert time.monotonic() - begun < 4  # a quarter of it is the goal, which `make bench` shows on a quiet machine
    ending = list(events)[-1]
    assert ending[0] == "done"
    assert ending[1]["finish_reason"] == "cancelled"
    for stream in busy:
        stream.close()
    until(lambda: proxy_is_idle(proxy))


def test_an_engine_that_is_not_there_is_stepped_over(native: NativeStack, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with running_proxy(native, tmp_path, ENGINE_URL=f"{nobody},{native.engine_url}") as proxy:
        client = proxy.as_()
        assert [client.chat("Say hello.").status_code for _ in range(4)] == [200] * 4
        assert proxy.ready()[0] == 200


def test_an_engine_that_only_hangs_is_given_no_more_work(native: NativeStack, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:
        silent = f"http://127.0.0.1:{hung.getsockname()[1]}"
        with running_proxy(native, tmp_path, ENGINE_URL=f"{silent},{native.engine_url}") as proxy:
            client = proxy.as_()
            until(lambda: "given no work" in proxy.log.read_text(), 15)
            assert [client.chat("Say hello.").status_code for _ in range(3)] == [200] * 3
