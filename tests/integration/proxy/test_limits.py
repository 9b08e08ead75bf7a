"""Limits over a real MongoDB: exact under load, there again after a restart, gone when their window is over."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pymongo
import pytest

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_usage import MongoUsage
from chatproxy.core.access import Caller, Limits
from chatproxy.core.limits import Limiter
from chatproxy.core.types import new_id, now
from chatproxy.errors import RateLimited
from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import STORY, Client, Proxy, events_of, running_proxy, until


@pytest.fixture
def usage(native: NativeStack) -> MongoUsage:
    password = native.mongo_password_file.read_text().strip()
    return MongoUsage(Database(native.mongo_url, "chatbot", user="chatproxy", password=password))


def limited(proxy: Proxy, *limits: str) -> Client:
    made = proxy.keys("create", "--name=limited", "--scopes=chat", "--json", *limits)
    return Client(proxy.url, json.loads(made.stdout)["key"])


def test_a_hundred_threads_against_ten_let_ten_through_and_a_restart_lets_none(usage: MongoUsage) -> None:
    moment, caller = now(), Caller("key:a", f"key:{new_id()}", "")

    def admitted(limiter: Limiter) -> int:
        def ask(_: int) -> bool:
            try:
                limiter.admit(caller)
            except RateLimited:
                return False
            return True

        with ThreadPoolExecutor(100) as pool:
            return sum(pool.map(ask, range(100)))

    limits = Limits(requests_per_minute=10)
    assert admitted(Limiter(usage, key=limits, clock=lambda: moment)) == 10
    assert admitted(Limiter(usage, key=limits, clock=lambda: moment)) == 0
    assert admitted(Limiter(usage, key=limits, clock=lambda: moment + timedelta(minutes=1))) == 10


def test_a_counter_adds_up_and_tells_when_it_may_go(usage: MongoUsage, native: NativeStack) -> None:
    name, ends = f"tokens/{new_id()}", now() + timedelta(hours=1)
    assert usage.read(name) == 0
    assert [usage.add(name, amount, expires_at=ends) for amount in (5, 7)] == [5, 12]
    assert usage.read(name) == 12
    password = native.mongo_password_file.read_text().strip()
    with pymongo.MongoClient[dict[str, object]](
        native.mongo_url, username="chatproxy", password=password, authSource="chatbot", tz_aware=True
    ) as client:
        collection = client["chatbot"]["usage"]
        assert collection.find_one({"_id": name}) == {"_id": name, "count": 12, "expires_at": ends}
        assert collection.index_information()["by_expiry"]["expireAfterSeconds"] == 0
        assert collection.index_information()["by_expiry"]["key"] == [("expires_at", 1)]


def test_a_days_tokens_stay_used_up_across_a_restart(native: NativeStack, tmp_path: Path) -> None:
    with running_proxy(native, tmp_path) as proxy:
        client = limited(proxy, "--tokens-per-day=20")
        assert client.chat("Say yes.").ok
    with running_proxy(native, tmp_path) as again:
        client.url = again.url
        refused = client.chat("Say yes.")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert refused.json()["error"]["message"].startswith("This key has used up its 20 tokens per day.")
    seconds = int(refused.headers["Retry-After"])
    assert abs(seconds - (86_400 - time.time() % 86_400)) < 30


def test_a_second_stream_waits_for_the_end_of_the_first(proxy: Proxy) -> None:
    client = limited(proxy, "--streams=1")
    response = client.stream(STORY)
    next(events_of(response))
    refused = client.chat("Me too!")
    assert refused.status_code == 429
    assert "1 answer in progress" in refused.json()["error"]["message"]
    response.close()
    until(lambda: client.chat("Now?").ok)


def test_an_address_has_limits_of_its_own(native: NativeStack, tmp_path: Path) -> None:
    settings = {"ADDRESS_TOKENS_PER_DAY": "20", "TRUSTED_HOPS": "1"}
    with running_proxy(native, tmp_path, **settings) as proxy:
        first, second = limited(proxy), limited(proxy, "--tokens-per-day=0")
        for client in (first, second):
            client.session.headers["X-Forwarded-For"] = f"2001:db8::{new_id()[:4]}"
        assert first.chat("Say yes.").ok
        refused = second.chat("Say yes.")
        assert refused.json()["error"]["message"].startswith("This address has used up its 20 tokens per day.")
        second.session.headers["X-Forwarded-For"] = "198.51.100.1"
        assert second.chat("Say yes.").ok


def test_a_key_tells_its_limits_and_its_last_use(proxy: Proxy) -> None:
    made = proxy.keys("create", "--name=told", "--scopes=chat", "--json", "--requests-per-minute=60", "--streams=0")
    key = json.loads(made.stdout)

    def listed() -> dict[str, object]:
        return dict(next(item for item in json.loads(proxy.keys("list", "--json").stdout) if item["id"] == key["id"]))

    limits = {"requests_per_minute": 60, "tokens_per_day": None, "streams": 0}
    assert listed()["limits"] == key["limits"] == limits
    assert listed()["last_used_at"] is None
    client = Client(proxy.url, key["key"])
    assert client.session.get(f"{proxy.url}/api/v1/conversations", timeout=10).ok
    until(lambda: listed()["last_used_at"])
    line = next(line for line in proxy.keys("list").stdout.splitlines() if key["id"] in line)
    assert "60 requests/minute, unlimited streams  told" in line
    assert f"used {listed()['last_used_at']}" in line


def test_a_key_revoked_by_another_process_stops_with_the_next_request(proxy: Proxy) -> None:
    client = proxy.as_()
    url = f"{proxy.url}/api/v1/conversations"
    assert client.session.get(url, timeout=10).ok
    assert proxy.keys("revoke", client.key.split("_")[1]).returncode == 0
    assert client.session.get(url, timeout=10).status_code == 401


def test_an_address_that_guesses_is_slowed_and_its_right_key_answers(native: NativeStack, tmp_path: Path) -> None:
    with running_proxy(native, tmp_path) as proxy:
        client, url = proxy.as_(), f"{proxy.url}/api/v1/conversations"
        guesser = Client(proxy.url, f"kb_{'0' * 16}_{'A' * 43}")
        statuses = [guesser.session.get(url, timeout=10).status_code for _ in range(40)]
        assert statuses == [401] * 30 + [429] * 10
        assert client.session.get(url, timeout=10).ok
