"""Visitors of web pages on the real services: from a site key to a chat, and who is kept out."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from chatproxy.adapters.mongo import Database
from chatproxy.adapters.mongo_sites import MongoSites
from chatproxy.core.access import Limits, SiteKey
from chatproxy.core.types import now
from chatproxy.errors import StorageUnavailable
from scripts.lib.native import NativeStack
from tests.integration.proxy.conftest import Proxy, running_proxy

SHOP, EVIL = "https://shop.example", "https://evil.example"


class Visitor:
    """A browser on a page of `origin`, as far as the proxy can tell."""

    def __init__(self, proxy: Proxy, site: str, origin: str = SHOP, token: str = "") -> None:
        self.url, self.site = proxy.url, site
        self.session = requests.Session()
        self.session.headers["Origin"] = origin
        self.given = self.ask_for_token(token)
        if self.given.ok:
            self.token = str(self.given.json()["token"])
            self.session.headers["Authorization"] = f"Bearer {self.token}"

    def ask_for_token(self, old: str = "") -> requests.Response:
        body = json.dumps({"site_key": self.site, "token": old or None})
        # As the widget sends it: a simple request, without preflight.
        return self.session.post(
            f"{self.url}/api/v1/visitors", data=body, headers={"Content-Type": "text/plain"}, timeout=30
        )

    def chat(self, message: str, **fields: Any) -> requests.Response:
        return self.session.post(f"{self.url}/api/v1/chat", json={"message": message, **fields}, timeout=120)

    def conversations(self) -> list[str]:
        listed = self.session.get(f"{self.url}/api/v1/conversations", timeout=30)
        listed.raise_for_status()
        return [each["id"] for each in listed.json()["conversations"]]


def new_site(proxy: Proxy, *more: str, origins: str = SHOP) -> dict[str, Any]:
    words = ("create", "--name", "the shop", f"--origins={origins}", "--address=https://chat.example", "--json", *more)
    made = proxy.keys(*words)
    assert made.returncode == 0, made.stderr
    return dict(json.loads(made.stdout))


def test_a_site_key_is_made_listed_and_revoked(proxy: Proxy) -> None:
    made = proxy.keys(
        "create", "--name", "home", "--origins=https://a.example,https://b.example", "--bots=brief", "--streams=1"
    )
    site, embed = made.stdout.splitlines()
    assert embed == f'<script src="https://DOMAIN/widget.js" data-bot="brief" data-site-key="{site}" async></script>'
    assert "connect-src https://DOMAIN" in made.stderr
    listed = proxy.keys("list").stdout
    assert f"{site}  created " in listed
    assert "on https://a.example, https://b.example  bots brief  1 streams  home" in listed
    told = next(each for each in json.loads(proxy.keys("list", "--json").stdout) if each["id"] == site)
    assert (told["origins"], told["bots"]) == (["https://a.example", "https://b.example"], ["brief"])
    assert proxy.keys("revoke", site).returncode == 0
    told = next(each for each in json.loads(proxy.keys("list", "--json").stdout) if each["id"] == site)
    assert told["revoked_at"]
    assert proxy.keys("revoke", "site_" + "0" * 16).stderr.startswith("key.unknown: ")
    assert proxy.keys("create", "--name=a", "--origins=https://a.example", "--bots=nobody").returncode == 1


def test_a_visitor_chats_from_the_sites_origin_alone(proxy: Proxy) -> None:
    made = new_site(proxy, "--bots=brief")
    site = made["id"]
    assert made["embed"].startswith('<script src="https://chat.example/widget.js" data-bot="brief"')
    visitor = Visitor(proxy, site)
    answer = visitor.chat("Hi")
    assert answer.ok, answer.text
    assert answer.json()["answer"]
    assert visitor.conversations() == [answer.json()["conversation_id"]]
    assert visitor.chat("Hi", bot="steady").status_code == 404
    preflight = requests.options(
        f"{proxy.url}/api/v1/chat",
        headers={"Origin": SHOP, "Access-Control-Request-Method": "POST"},
        timeout=10,
    )
    assert preflight.headers["Access-Control-Allow-Origin"] == SHOP
    # From another page: neither a token, nor somebody's token.
    refused = Visitor(proxy, site, EVIL).given
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert refused.headers["Access-Control-Allow-Origin"] == EVIL
    stolen = visitor.session.get(f"{proxy.url}/api/v1/conversations", headers={"Origin": EVIL}, timeout=10)
    assert (stolen.status_code, stolen.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert "Access-Control-Allow-Origin" not in stolen.headers


def test_a_stream_goes_on_for_its_visitor_alone(proxy: Proxy) -> None:
    site = new_site(proxy, "--bots=brief")["id"]
    visitor, other = Visitor(proxy, site), Visitor(proxy, site)
    streamed = visitor.chat("Hi", stream=True)
    message = streamed.headers["X-Message-Id"]
    assert "event: done" in streamed.text
    url = f"{proxy.url}/api/v1/chat/{message}/stream"
    assert "event: done" in visitor.session.get(url, timeout=60).text
    assert other.session.get(url, timeout=60).status_code == 404
    assert other.conversations() == []


def test_a_renewal_keeps_the_visitor_also_behind_a_new_process(native: NativeStack, tmp_path: Path) -> None:
    with running_proxy(native, tmp_path) as first:
        site = new_site(first, "--bots=brief")["id"]
        visitor = Visitor(first, site)
        conversation = visitor.chat("Hi").json()["conversation_id"]
    with running_proxy(native, tmp_path) as second:
        again = Visitor(second, site, token=visitor.token)
        assert again.given.json()["visitor_id"] == visitor.given.json()["visitor_id"]
        assert again.conversations() == [conversation]
        assert again.session.delete(f"{second.url}/api/v1/conversations", timeout=10).json() == {"deleted": 1}


def test_a_revoked_site_key_is_shut_at_once(proxy: Proxy) -> None:
    site = new_site(proxy, "--bots=brief")["id"]
    visitor = Visitor(proxy, site)
    assert visitor.conversations() == []
    proxy.keys("revoke", site)
    shut = visitor.session.get(f"{proxy.url}/api/v1/conversations", timeout=10)
    assert (shut.status_code, shut.json()["error"]["code"]) == (401, "unauthorized")
    assert visitor.ask_for_token(visitor.token).status_code == 403


def test_limits_of_a_site_key_count_for_each_visitor(proxy: Proxy) -> None:
    site = new_site(proxy, "--bots=brief", "--requests-per-minute=1")["id"]
    for visitor in (Visitor(proxy, site), Visitor(proxy, site)):
        answers = [visitor.chat("Hi") for _ in range(3)]  # a full minute may begin in between
        refused = next(answer for answer in answers if not answer.ok)
        assert refused.status_code == 429
        assert refused.json()["error"]["message"].startswith("You have used up your 1 question per minute. Try again")


def test_new_visitors_of_one_address_are_counted_in_the_database(native: NativeStack, tmp_path: Path) -> None:
    settings = {"NEW_VISITORS_PER_HOUR": "2", "TRUSTED_HOPS": "1"}
    for address in ("198.51.100.77", "198.51.100.78"):
        hour, statuses = now().hour, []
        for _ in range(2):  # a restart forgets nothing
            with running_proxy(native, tmp_path, **settings) as proxy:
                url, outside = f"{proxy.url}/api/v1/visitors", {"X-Forwarded-For": address}
                statuses += [requests.post(url, headers=outside, timeout=10).status_code for _ in range(2)]
        if now().hour == hour:
            break  # else a new hour has begun in between, and it is done again
    assert statuses == [200, 200, 429, 429]


def test_the_own_page_and_the_widgets_files_are_served(proxy: Proxy) -> None:
    assert requests.get(f"{proxy.url}/chat", timeout=10).headers["Content-Type"].startswith("text/html")
    assert requests.get(f"{proxy.url}/widget.js", timeout=10).headers["Cache-Control"] == "public, max-age=300"
    told = requests.get(f"{proxy.url}/api/v1/widget", timeout=10).json()
    assert told["bot"]["id"] in {bot["id"] for bot in told["bots"]}
    assert requests.post(f"{proxy.url}/api/v1/visitors", headers={"Origin": proxy.url}, timeout=10).ok


def test_no_log_line_holds_tokens_or_visitors(proxy: Proxy) -> None:
    visitor = Visitor(proxy, new_site(proxy, "--bots=brief")["id"])
    visitor.chat("Hi")
    log = proxy.log.read_text()
    assert f"POST /api/v1/chat status=200 key={visitor.site}" in log
    assert visitor.token not in log
    assert visitor.given.json()["visitor_id"] not in log


@pytest.fixture
def stored(native: NativeStack) -> MongoSites:
    password = native.mongo_password_file.read_text().strip()
    return MongoSites(Database(native.mongo_url, "chatbot", user="chatproxy", password=password))


def test_a_site_key_is_stored_as_it_is(stored: MongoSites) -> None:
    moment = now()
    bare = SiteKey("site_00000000000000aa", "bare", (SHOP,), moment)
    full = SiteKey(
        "site_00000000000000ab",
        "full",
        (SHOP, EVIL),
        moment + timedelta(seconds=1),
        ("brief",),
        moment + timedelta(days=1),
        None,
        Limits(streams=0),
    )
    for site in (full, bare):
        stored.add(site)
        assert stored.find(site.id) == site
    assert [site for site in stored.all() if site.id in (bare.id, full.id)] == [bare, full]
    assert stored.revoke(bare.id, moment)
    assert stored.revoke(bare.id, moment + timedelta(days=1))
    revoked = stored.find(bare.id)
    assert revoked is not None
    assert revoked.revoked_at == moment
    assert not stored.revoke("site_00000000000000ac", moment)
    assert stored.find("site_00000000000000ac") is None


def test_a_database_that_is_away_is_named() -> None:
    away = MongoSites(Database("mongodb://127.0.0.1:1", "chatbot"))
    with pytest.raises(StorageUnavailable):
        away.find("site_00000000000000aa")
