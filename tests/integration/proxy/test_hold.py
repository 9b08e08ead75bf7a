"""The engine is exchanged behind a real proxy: who is answered is answered to the end, and who comes waits."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.lib.native import ROOT, NativeStack
from tests.integration.proxy.conftest import STORY, Client, Proxy, events_of, running_proxy, until


@pytest.fixture
def own(native: NativeStack, tmp_path: Path) -> Iterator[Proxy]:
    with running_proxy(native, tmp_path, HOLD_FILE=str(tmp_path / "hold.json")) as proxy:
        yield proxy


def _ask(proxy: Proxy, *words: str) -> str:
    command = [sys.executable, "-m", "chatproxy", *words]
    told = subprocess.run(
        command, env=proxy.environment, cwd=ROOT / "proxy", check=True, capture_output=True, text=True
    )
    return told.stdout


class Listener(threading.Thread):
    """One question's stream, read to its end."""

    def __init__(self, client: Client, message: str, bot: str = "brief") -> None:
        super().__init__(daemon=True)
        self._client, self._fields = client, {"message": message, "bot": bot}
        self.events: list[tuple[str, Any]] = []
        self.message_id = ""
        self.start()

    def run(self) -> None:
        with self._client.stream(**self._fields) as response:
            self.message_id = response.headers["X-Message-Id"]
            for event in events_of(response):
                self.events.append(event)

    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    def last(self) -> tuple[str, Any]:
        self.join(60)
        assert not self.is_alive()
        return self.events[-1]


def _engine(proxy: Proxy) -> dict[str, Any]:
    return dict(proxy.ready()[1]["engine"])


def test_the_engine_goes_and_comes_back_while_everybody_waits(own: Proxy, native: NativeStack) -> None:
    client = own.as_()
    running = Listener(client, STORY, "steady")
    until(lambda: "token" in running.names())
    _ask(own, "hold", "60")
    early = Listener(own.as_(), "Say yes.")
    until(lambda: ("queued", {"position": 1, "eta_s": None}) in early.events)
    name, done = running.last()
    assert (name, done["finish_reason"] in ("stop", "length")) == ("done", True)
    until(lambda: (_engine(own)["busy"], _engine(own)["waiting"], _engine(own)["held"]) == (0, 1, True))
    native.stop("engine")
    try:
        late, leaving = Listener(own.as_(), "Say no."), Listener(client, "Never mind.")
        until(lambda: all("queued" in each.names() for each in (late, leaving)))
        client.session.post(f"{own.url}/api/v1/chat/{leaving.message_id}/cancel", timeout=10)
        assert leaving.last()[1]["finish_reason"] == "cancelled"
        assert _engine(own)["waiting"] == 2
    finally:
        native.start("engine")
    assert _ask(own, "try-engine").strip()
    _ask(own, "release")
    for each in (early, late):
        name, done = each.last()
        assert (name, done["finish_reason"] in ("stop", "length")) == ("done", True)
        assert done["answer"]
    assert not _engine(own)["held"]


def test_who_waits_when_the_proxy_is_to_end_is_sent_away_and_taken_up_again(own: Proxy) -> None:
    client = own.as_()
    _ask(own, "hold", "60")
    waiting = Listener(client, "Say yes.")
    until(lambda: "queued" in waiting.names())
    _ask(own, "hold", "60", "--turn-away")
    name, told = waiting.last()
    assert (name, told["code"]) == ("error", "unavailable")
    refused = client.chat("Say no.")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    _ask(own, "release")
    until(lambda: not _engine(own)["held"])
    with client.session.get(f"{own.url}/api/v1/chat/{waiting.message_id}/stream", stream=True, timeout=60) as response:
        assert [name for name, _ in events_of(response)][-1] == "done"


def test_a_hold_whose_writer_was_killed_ends_by_itself(own: Proxy) -> None:
    _ask(own, "hold", "3")
    answer = own.as_().chat("Say yes.")
    assert answer.status_code == 200
    assert answer.json()["answer"]
