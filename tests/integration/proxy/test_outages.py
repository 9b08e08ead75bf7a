"""A dependency goes away and comes back: it is named meanwhile, nothing acknowledged is lost, nobody has to help."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import requests

from chatproxy.settings import Settings
from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import STORY, Client, Proxy, events_of, running_proxy, until


def test_mongo_killed_under_load_loses_nothing_acknowledged(proxy: Proxy, native: NativeStack) -> None:
    client = proxy.as_()
    acknowledged: list[dict[str, str]] = []
    statuses: set[int] = set()
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            response = client.chat("Say yes.")
            statuses.add(response.status_code)
            if response.ok:
                acknowledged.append(response.json())

    threads = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(acknowledged) >= 3, 30)
        native.stop("mongo", kill=True)
        until(lambda: proxy.ready()[0] == 503)
        checks = proxy.ready()[1]["checks"]
        assert checks.pop("mongo") == {"ok": False, "reason": "cannot be reached"}
        assert all(check["ok"] for check in checks.values())
        before = len(acknowledged)
        time.sleep(1)
    finally:
        native.start("mongo")
    until(lambda: len(acknowledged) >= before + 3, 30)
    stop.set()
    for thread in threads:
        thread.join()
    assert statuses <= {200, 503}
    assert proxy.ready()[0] == 200
    for answer in acknowledged:
        messages = client.conversation(answer["conversation_id"])["messages"]
        assert [(m["role"], m["text"]) for m in messages] == [("user", "Say yes."), ("assistant", answer["answer"])]


def test_it_starts_without_mongo_and_recovers(native: NativeStack, tmp_path: Path) -> None:
    native.stop("mongo")
    try:
        with running_proxy(native, tmp_path) as proxy:
            status, body = proxy.ready()
            assert (status, body["checks"]["mongo"]["ok"]) == (503, False)
            refused = Client(proxy.url, "kb_0123456789abcdef_" + "A" * 43).chat("Hi")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage_unavailable")
            native.start("mongo")
            until(lambda: proxy.ready()[0] == 200, 20)
            assert proxy.as_().chat("Hi").ok
    finally:
        native.start("mongo")


def test_an_engine_killed_in_mid_answer_is_an_error_that_keeps_the_part(proxy: Proxy, native: NativeStack) -> None:
    client = proxy.as_()
    response = client.stream(STORY)
    events = events_of(response)
    for _ in range(5):
        next(events)
    native.stop("engine", kill=True)
    try:
        name, data = list(events)[-1]
        assert (name, data["code"]) == ("error", "engine_error")
        status, body = proxy.ready()
        assert (status, body["checks"]["engine"]) == (503, {"ok": False, "reason": "connection refused"})
        assert client.chat("Hi").status_code == 502
    finally:
        native.start("engine")
    messages = client.conversation(response.headers["X-Conversation-Id"])["messages"]
    assert [(m["role"], m["status"]) for m in messages] == [("user", "complete"), ("assistant", "interrupted")]
    assert client.chat("Go on.", conversation_id=response.headers["X-Conversation-Id"]).ok
    assert proxy.ready()[1]["engine"]["busy"] == 0


def test_chroma_and_embeddings_are_named_too(native: NativeStack, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("not the token")
    settings = {"CHROMA_TOKEN_FILE": str(wrong), "EMBEDDINGS_URL": "http://127.0.0.1:1"}
    with running_proxy(native, tmp_path, **settings) as proxy:
        checks = proxy.ready()[1]["checks"]
        assert checks["chroma"] == {"ok": False, "reason": "the token is refused"}
        assert checks["embeddings"] == {"ok": False, "reason": "connection refused"}
        assert requests.get(f"{proxy.url}/healthz", timeout=5).ok


def test_the_stacks_environment_is_complete(native: NativeStack) -> None:
    settings = Settings.from_environment(native.proxy_environment())
    assert settings.mongo_password
    assert settings.chroma_token
