"""A client that leaves takes its work with it: the engine is idle again, what was written is kept."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import STORY, Client, Proxy, events_of, running_proxy, until


def engine_is_idle(native: NativeStack) -> bool:
    slots = requests.get(f"{native.engine_url}/slots", timeout=5).json()
    return not any(slot["is_processing"] for slot in slots)


def proxy_is_idle(proxy: Proxy) -> bool:
    engine = proxy.ready()[1]["engine"]
    return (engine["busy"], engine["waiting"]) == (0, 0)


def newest_messages(client: Client) -> list[dict[str, Any]]:
    listed = client.session.get(f"{client.url}/api/v1/conversations?limit=1", timeout=10).json()["conversations"]
    return list(client.conversation(listed[0]["id"])["messages"]) if listed else []


def send_and_keep_open(client: Client, body: dict[str, Any]) -> socket.socket:
    """A request on a bare socket, which can be closed at any moment."""
    parts = urlsplit(client.url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 80))
    payload = json.dumps(body).encode()
    head = f"POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.key}\r\n"
    connection.sendall(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
    return connection


def test_leaving_in_mid_stream_stores_the_part_as_interrupted(proxy: Proxy, native: NativeStack) -> None:
    client = proxy.as_()
    response = client.stream(STORY)
    events = events_of(response)
    heard = "".join(next(events)[1]["text"] for _ in range(10))
    begun = time.monotonic()
    response.close()
    until(lambda: engine_is_idle(native) and proxy_is_idle(proxy))
    assert time.monotonic() - begun < 2
    question, part = newest_messages(client)
    assert question["text"] == STORY
    assert (part["status"], part["finish_reason"]) == ("interrupted", None)
    assert part["text"].startswith(heard.strip())
    assert part["id"] == response.headers["X-Message-Id"]


def test_a_client_that_does_not_stream_is_missed_too(proxy: Proxy, native: NativeStack) -> None:
    client = proxy.as_()
    connection = send_and_keep_open(client, {"message": STORY})
    until(lambda: not engine_is_idle(native))
    connection.close()
    until(lambda: engine_is_idle(native) and proxy_is_idle(proxy), 2)
    assert newest_messages(client)[1]["status"] == "interrupted"


def test_leaving_the_queue_frees_the_place(proxy: Proxy, native: NativeStack) -> None:
    client = proxy.as_()
    running = [client.stream(STORY) for _ in range(native.slots)]
    waiting = send_and_keep_open(client, {"message": "Me too", "stream": True})
    until(lambda: proxy.ready()[1]["engine"]["waiting"] == 1)
    waiting.close()
    until(lambda: proxy.ready()[1]["engine"]["waiting"] == 0, 3)
    for response in running:
        response.close()
    until(lambda: proxy_is_idle(proxy))


def test_waiting_clients_are_told_their_place_and_all_are_answered(proxy: Proxy, native: NativeStack) -> None:
    client = proxy.as_()
    told: list[list[tuple[str, Any]]] = []

    def ask() -> None:
        told.append(list(events_of(client.stream("Count from one to five."))))

    threads = [threading.Thread(target=ask) for _ in range(native.slots + 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [events[-1][0] for events in told] == ["done"] * len(threads)
    places = [data["position"] for events in told for name, data in events if name == "queued"]
    assert max(places) == 3


def test_healthz_is_quick_when_every_place_is_taken(native: NativeStack, tmp_path: Path) -> None:
    with running_proxy(native, tmp_path, STREAM_CAP="8", QUEUE_SIZE="32") as proxy:
        client, other = proxy.as_(), proxy.as_()
        open_streams = [client.stream(STORY) for _ in range(4)] + [other.stream(STORY) for _ in range(4)]
        refused = client.chat("One too many")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        assert int(refused.headers["Retry-After"]) > 0
        slowest = 0.0
        for _ in range(50):
            begun = time.monotonic()
            assert requests.get(f"{proxy.url}/healthz", timeout=5).ok
            slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 0.5
        for stream in open_streams:
            stream.close()
        until(lambda: proxy_is_idle(proxy))


@pytest.mark.parametrize("streaming", [True, False])
def test_a_graceful_stop_lets_answers_end(native: NativeStack, tmp_path: Path, streaming: bool) -> None:
    with running_proxy(native, tmp_path) as proxy:
        client = proxy.as_()
        ended: list[str] = []

        def ask() -> None:
            if streaming:
                ended.extend(name for name, _ in events_of(client.stream(STORY, bot="steady")))
            else:
                ended.append("done" if client.chat(STORY, bot="steady").ok else "failed")

        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: not engine_is_idle(native))
        proxy.process.send_signal(signal.SIGTERM)
        asking.join(60)
        assert ended[-1] == "done"
        assert proxy.process.wait(20) == 0
