"""The pages of keys: made and shown once, changed at once, revoked, refused in words beside the form."""

from __future__ import annotations

import html
import re

import pytest

from chatproxy.core.access import Limits
from chatproxy.core.keys import SCOPES, Keyring
from chatproxy.web.console import keys as page
from tests.unit.proxy.fakes import SHOP, World
from tests.unit.proxy.web.console.browsing import Browser, admitted


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def browser(world: World) -> Browser:
    return admitted(world)


def newest(world: World) -> tuple[str, str, str]:
    """What was done last: act, subject, outcome."""
    act = world.audit.acts[-1]
    return act.what, act.subject, act.outcome


def test_a_key_is_shown_on_the_answering_page_alone_and_works(world: World, browser: Browser) -> None:
    made = browser.post("/keys", {"name": "homepage", "scopes": ["chat", "admin"], "days": "90", "streams": "4"})
    assert made.status_code == 200
    (key,) = set(re.findall(r"kb_[0-9a-f]{16}_[\w-]{43}", made.text))
    assert Keyring(world.keys).verify(key).scopes == {"chat", "admin"}
    record = world.keys.keys[key[3:19]]
    assert record.limits == Limits(streams=4) and record.expires_at is not None
    assert "curl https://localhost/api/v1/chat" in html.unescape(made.text)
    secret = key[20:]
    assert secret not in browser.get("/keys").text
    assert secret not in str(world.audit.acts)
    assert newest(world) == ("key.create", record.id, "done")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": "", "scopes": "chat"}, "What it is for: 1 to 80 printable characters"),
        ({"name": "a"}, "What it may do: one or more of"),
        ({"name": "a", "scopes": "chat", "days": "0"}, "Days until it expires: from 1 to 3650"),
        ({"name": "a", "scopes": "chat", "days": "soon"}, "Days until it expires: must be a whole number, not 'soon'"),
        ({"name": "a", "scopes": "chat", "streams": "5000"}, "Answers at a time: from 0 (no limit) to 4096"),
    ],
)
def test_what_is_wrong_stands_beside_the_form_which_keeps_what_was_given(
    world: World, browser: Browser, fields: dict[str, str], told: str
) -> None:
    answer = browser.post("/keys", {"tokens_per_day": "777", **fields})
    assert answer.status_code == 400
    assert told in html.unescape(answer.text) and 'role="alert"' in answer.text
    assert 'value="777"' in answer.text
    assert not world.keys.keys
    assert newest(world)[::2] == ("key.create", "invalid_request")


def test_a_site_key_comes_with_its_two_lines(world: World, browser: Browser) -> None:
    fields = {"name": "shop", "origins": f"{SHOP}\r\nhttps://www.shop.example\r\n", "bots": ["mira"]}
    text = html.unescape(browser.post("/keys/sites", fields).text)
    (site,) = world.sites.sites.values()
    assert (site.origins, site.bots) == ((SHOP, "https://www.shop.example"), ("mira",))
    line = f'<script src="https://localhost/widget.js" data-bot="mira" data-site-key="{site.id}" async></script>'
    assert line in text
    assert "script-src https://localhost; connect-src https://localhost" in text


def test_a_misspelt_origin_or_bot_is_refused(world: World, browser: Browser) -> None:
    wrong = browser.post("/keys/sites", {"name": "shop", "origins": "https://shop.example/"})
    assert "Pages: as browsers send them, not 'https://shop.example/'" in html.unescape(wrong.text)
    wrong = browser.post("/keys/sites", {"name": "shop", "origins": SHOP, "bots": ["nobody"]})
    assert "Bots: names of bots that there are, not 'nobody'" in html.unescape(wrong.text)
    assert wrong.status_code == 400 and not world.sites.sites


def test_limits_count_from_the_next_request_on(world: World, browser: Browser) -> None:
    client = world.client("chat")
    assert client.post("/api/v1/search", json={"query": "x"}).status_code == 200
    (key,) = world.keys.keys
    assert browser.post(f"/keys/{key}", {"requests_per_minute": "1"}).status_code == 303
    assert world.keys.keys[key].limits == Limits(requests_per_minute=1)
    statuses = [client.post("/api/v1/search", json={"query": "x"}).status_code for _ in range(2)]
    assert statuses[-1] == 429
    assert newest(world) == ("key.change", key, "done")
    assert "1 questions a minute" in browser.get("/keys").text


def test_a_site_keys_origins_and_bots_change_at_once(world: World, browser: Browser) -> None:
    site = world.site(SHOP)
    fields = {"origins": "https://other.example", "bots": ["mira"], "streams": "0"}
    assert browser.post(f"/keys/{site}", fields).status_code == 303
    changed = world.sites.sites[site]
    assert (changed.origins, changed.bots) == (("https://other.example",), ("mira",))
    assert changed.limits == Limits(streams=0)
    client = world.app.test_client()
    refused = client.post("/api/v1/visitors", json={"site_key": site}, headers={"Origin": SHOP})
    assert refused.status_code == 403
    let_in = client.post("/api/v1/visitors", json={"site_key": site}, headers={"Origin": "https://other.example"})
    assert let_in.status_code == 200
    kept = browser.post(f"/keys/{site}", {"origins": "nonsense"})
    assert kept.status_code == 400 and "nonsense" in kept.text
    assert world.sites.sites[site].origins == ("https://other.example",)


def test_revoked_keys_of_both_kinds_work_no_more(world: World, browser: Browser) -> None:
    client, site = world.client("chat"), world.site(SHOP)
    (key,) = world.keys.keys
    for each in (key, site):
        assert browser.post(f"/keys/{each}/revoke").headers["Location"] == "/keys?done=key.revoke"
    assert client.get("/api/v1/conversations").status_code == 401
    assert world.sites.sites[site].revoked_at
    listed = browser.get("/keys").text
    assert listed.count("revoked") >= 2 and f"/keys/{key}/revoke" not in listed
    assert "Change its limits" not in browser.get(f"/keys/{key}").text


@pytest.mark.parametrize("key", ["0" * 16, "site_" + "0" * 16, "nonsense"])
def test_an_unknown_key_is_not_found(browser: Browser, key: str) -> None:
    assert browser.get(f"/keys/{key}").status_code == 404
    assert browser.post(f"/keys/{key}", {"origins": SHOP}).status_code == 404
    assert browser.post(f"/keys/{key}/revoke").status_code == 404


def test_names_are_shown_as_text(world: World, browser: Browser) -> None:
    browser.post("/keys", {"name": "<script>alert(1)</script>", "scopes": "chat"})
    assert "<script>alert" not in browser.get("/keys").text


def test_every_scope_has_its_words() -> None:
    assert frozenset(page.SCOPES) == SCOPES
