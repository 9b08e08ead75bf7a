"""Nobody gets past the console's door: every route of its table, by everything that could open it and must not."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Blueprint, Flask
from werkzeug.test import TestResponse

from chatproxy.core.admins import Admins
from chatproxy.core.audit import Audit
from chatproxy.core.types import now
from chatproxy.errors import ConfigurationError
from chatproxy.web.console import shell, words
from tests.unit.proxy.admins import MemoryAdmins, MemoryAdminSessions, MemoryAudit, QuickHasher
from tests.unit.proxy.fakes import World
from tests.unit.proxy.memory import MemoryUsage
from tests.unit.proxy.web.console.browsing import NAME, ORIGIN, PASSWORD, Browser, admitted

OPEN = {"/login", "/metrics", "/static/<path:filename>"}
ARGUMENT = re.compile(r"<(?:\w+:)?\w+>")


def routes() -> list[tuple[str, str]]:
    """(method, rule) of every route, as the table has them."""
    rules = World().console.url_map.iter_rules()
    return sorted((method, rule.rule) for rule in rules for method in (rule.methods or set()) - {"OPTIONS"})


def path_of(rule: str) -> str:
    return ARGUMENT.sub("0" * 32, rule)


GUARDED = [(method, rule) for method, rule in routes() if rule not in OPEN]
ACTS = [(method, rule) for method, rule in routes() if method not in ("GET", "HEAD")]
HEADERS = {
    "Cache-Control",
    "Content-Security-Policy",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy",
    "Referrer-Policy",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-Request-Id",
}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def browser(world: World) -> Browser:
    return admitted(world)


def is_sent_to_the_door(answer: TestResponse) -> bool:
    return answer.status_code == 303 and answer.headers["Location"].startswith("/login?next=%2F")


def test_the_table_is_not_empty() -> None:
    assert len(GUARDED) > 15 and len(ACTS) > 5
    assert {rule for method, rule in routes() if rule in OPEN} == OPEN


@pytest.mark.parametrize(("method", "rule"), GUARDED)
def test_without_a_log_in_nothing_is_shown_or_done(world: World, method: str, rule: str) -> None:
    browser = Browser(world)
    for cookie in ("", "x", "0" * 64, "' || '1'=='1"):
        browser.cookie = cookie
        answer = browser.client.open(path_of(rule), method=method, headers={"Origin": ORIGIN})
        assert is_sent_to_the_door(answer)
        assert "<main" not in answer.text


@pytest.mark.parametrize(("method", "rule"), GUARDED)
@pytest.mark.parametrize("end", ["idle", "old", "logged out", "password changed", "admin gone"])
def test_with_a_session_that_has_ended_nothing_is_shown_or_done(
    world: World, browser: Browser, method: str, rule: str, end: str
) -> None:
    csrf = browser.csrf
    (session,) = world.admin_sessions.sessions.values()
    admins = Admins(world.admins, world.admin_sessions, world.hasher, world.usage)
    if end in ("idle", "old"):
        from dataclasses import replace

        past = {"idle": {"seen_at": now() - timedelta(minutes=31)}, "old": {"expires_at": now()}}[end]
        world.admin_sessions.sessions[session.digest] = replace(session, **past)
    elif end == "logged out":
        admins.log_out(session)
    elif end == "password changed":
        admins.set_password(NAME, "another password")
    else:
        admins.remove(NAME)
    answer = browser.client.open(path_of(rule), method=method, data={"csrf": csrf}, headers={"Origin": ORIGIN})
    assert is_sent_to_the_door(answer)


@pytest.mark.parametrize(("method", "rule"), [each for each in ACTS if each[1] not in OPEN])
@pytest.mark.parametrize("csrf", [None, "", "x", "anothers", "\u00e9"])
def test_a_form_without_its_sessions_token_does_nothing(
    world: World, browser: Browser, method: str, rule: str, csrf: str | None
) -> None:
    if csrf == "anothers":
        other = Browser(world)
        other.log_in()
        csrf = other.csrf
    fields = {} if csrf is None else {"csrf": csrf}
    answer = browser.client.open(path_of(rule), method=method, data=fields, headers={"Origin": ORIGIN})
    assert answer.status_code == 403
    assert world.audit.acts[-1].outcome == "not_from_this_page"
    # Nor where it stands in the address: that is in histories and logs.
    answer = browser.client.open(f"{path_of(rule)}?csrf={browser.csrf}", method=method, headers={"Origin": ORIGIN})
    assert answer.status_code == 403


@pytest.mark.parametrize(("method", "rule"), ACTS)
@pytest.mark.parametrize(
    "origin",
    [None, "", "null", "https://localhost", "http://localhost:5001", "http://evil.example", "http://localhost.evil.example",
     "http://localhost/", "http://LOCALHOST", "http://localhost, http://evil.example"],
)  # fmt: skip
def test_a_form_of_another_page_does_nothing(
    world: World, browser: Browser, method: str, rule: str, origin: str | None
) -> None:
    fields = {"csrf": browser.csrf, "name": NAME, "password": PASSWORD}
    acts = len(world.admin_sessions.sessions)
    answer = browser.client.open(
        path_of(rule), method=method, data=fields, headers={} if origin is None else {"Origin": origin}
    )
    assert answer.status_code == 403
    assert len(world.admin_sessions.sessions) == acts
    assert "Set-Cookie" not in answer.headers
    assert world.audit.acts[-1].outcome == "not_from_this_page"


def test_a_page_of_another_site_may_link_to_a_page_and_nothing_else(browser: Browser) -> None:
    def told(site: str, mode: str = "navigate", dest: str = "document") -> dict[str, str]:
        return {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}

    assert browser.get("/audit", headers=told("none")).status_code == 200
    assert browser.get("/audit", headers=told("same-origin", "cors", "empty")).status_code == 200
    for site in ("cross-site", "same-site"):
        assert browser.get("/audit", headers=told(site)).status_code == 200
        assert browser.client.head("/audit", headers=told(site)).status_code == 403
        for mode, dest in (("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe"), ("no-cors", "script")):
            for path in ("/audit", "/login", "/static/console.css"):
                assert browser.get(path, headers=told(site, mode, dest)).status_code == 403


@pytest.mark.parametrize(("method", "rule"), routes())
def test_every_answer_has_the_headers_that_keep_others_out(
    world: World, browser: Browser, method: str, rule: str
) -> None:
    for client in (browser.client, world.console.test_client()):
        answer = client.open(path_of(rule), method=method, headers={"Origin": ORIGIN})
        assert set(answer.headers.keys()) >= HEADERS
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy


@pytest.mark.parametrize("path", ["/nothing", "/static/../shell.py", "/static/%2e%2e/templates/base.html", "/login/"])
def test_what_is_not_there_has_them_too(world: World, path: str) -> None:
    answer = Browser(world).get(path)
    assert answer.status_code == 404
    assert set(answer.headers.keys()) >= HEADERS


ELSEWHERE = (
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "evil.example",
)
ELSEWHERE += (
    "javascript:alert(1)",
    "/\r\nSet-Cookie: a=b",
    "///evil.example",
    "http:evil.example",
    "/\u2044evil",
    "/a\\b",
    "",
)


@pytest.mark.parametrize("given", ELSEWHERE)
def test_a_log_in_leads_nowhere_else(world: World, given: str) -> None:
    browser = admitted(world)
    answer = browser.log_in(next=given)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    form = Browser(world).get("/login", query_string={"next": given})
    assert 'name="next" value="/"' in form.text


def test_a_log_in_leads_back_to_the_page_that_was_wanted(world: World) -> None:
    browser = admitted(world)
    wanted = "/conversations?text=lamp%20%26&bot=a"
    stranger = Browser(world)
    door = stranger.get(wanted).headers["Location"]
    assert stranger.get(door).status_code == 200
    answer = browser.log_in(next=wanted)
    assert answer.headers["Location"] == wanted


def test_the_cookie_is_for_no_script_and_no_other_site(world: World) -> None:
    browser = admitted(world)
    told = browser.log_in().headers["Set-Cookie"]
    assert "HttpOnly" in told and "SameSite=Strict" in told and "Path=/" in told and "Expires" not in told


def test_a_session_that_somebody_else_has_put_there_is_not_taken_over(world: World, browser: Browser) -> None:
    planted = Browser(world)
    planted.log_in()
    victim = Browser(world)
    victim.cookie = planted.cookie
    victim.log_in()
    assert victim.cookie != planted.cookie
    assert is_sent_to_the_door(planted.get("/audit"))  # what was there before has ended
    fixed = Browser(world)
    fixed.cookie = "chosen by somebody else"
    fixed.log_in()
    assert fixed.cookie != "chosen by somebody else"
    assert is_sent_to_the_door(_with_cookie(world, "chosen by somebody else").get("/audit"))


def _with_cookie(world: World, value: str) -> Browser:
    browser = Browser(world)
    browser.cookie = value
    return browser


def test_a_log_out_ends_the_session_and_not_only_the_cookie(world: World, browser: Browser) -> None:
    kept = browser.cookie
    assert browser.post("/logout").headers["Location"] == "/login"
    assert browser.cookie == ""
    assert is_sent_to_the_door(_with_cookie(world, kept).get("/audit"))


def test_wrong_log_ins_are_told_alike_and_too_many_are_refused(world: World, browser: Browser) -> None:
    unknown, known = browser.log_in("nobody", "x" * 12), browser.log_in(NAME, "x" * 12)
    assert unknown.status_code == known.status_code == 401
    assert unknown.text.replace('value="nobody"', "") == known.text.replace(f'value="{NAME}"', "")
    for _ in range(8):
        browser.log_in(NAME, "wrong")
    refused = browser.log_in()
    assert refused.status_code == 429 and "Try again in" in refused.text
    assert world.audit.acts[-1].outcome == "rate_limited"


def test_an_address_is_the_one_that_the_gate_tells_and_no_other(world: World) -> None:
    admitted(world)
    client = world.console.test_client()
    for number in range(12):
        headers = {"Origin": ORIGIN, "X-Forwarded-For": f"1.2.3.{number}, 10.13.13.7"}
        answer = client.post("/login", data={"name": f"n{number}", "password": "wrong"}, headers=headers)
    assert answer.status_code == 429
    assert world.audit.acts[-1].address == "10.13.13.7"
    # Nor does a header tell the page's own origin.
    headers = {"Origin": "http://evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
    assert client.post("/login", data={}, headers=headers).status_code == 403


def test_a_page_that_asks_by_itself_keeps_no_session_alive(world: World, browser: Browser) -> None:
    from dataclasses import replace

    (session,) = world.admin_sessions.sessions.values()
    before = now() - timedelta(minutes=10)
    world.admin_sessions.sessions[session.digest] = replace(session, seen_at=before)
    browser.get("/audit", headers={"Console-Refresh": "1"})
    assert world.admin_sessions.sessions[session.digest].seen_at == before
    browser.get("/static/console.css")
    assert world.admin_sessions.sessions[session.digest].seen_at == before
    browser.get("/audit")
    assert world.admin_sessions.sessions[session.digest].seen_at > before


def test_a_large_body_is_refused_before_anybody_reads_it(world: World, browser: Browser) -> None:
    for client in (world.console.test_client(), browser.client):
        answer = client.post("/login", data={"name": "x" * 2_000_000}, headers={"Origin": ORIGIN})
        assert answer.status_code == 413
    assert browser.post("/conversations/rules", {"answer": "x" * 2_000_000}).status_code == 413


def _console(view_is_declared: bool) -> Flask:
    app, routes = shell.create(), Blueprint("bare", __name__)

    def view() -> str:
        return ""

    routes.post("/bare")(shell.acts("log-out")(view) if view_is_declared else view)
    app.register_blueprint(routes)
    return app


def test_a_route_that_does_not_say_what_it_does_stops_the_start() -> None:
    admins = Admins(MemoryAdmins(), MemoryAdminSessions(), QuickHasher(), MemoryUsage())
    shell.install(_console(view_is_declared=True), admins, Audit(MemoryAudit()))
    with pytest.raises(ConfigurationError, match="/bare does not say what it does"):
        shell.install(_console(view_is_declared=False), admins, Audit(MemoryAudit()))
    with pytest.raises(ConfigurationError, match="no such act"):
        shell.acts("no such act")


def test_every_act_has_words_and_every_name_a_page(world: World, browser: Browser) -> None:
    for what, told in words.ACTS.items():
        assert told in browser.get(f"/audit?done={what}").text
    assert 'role="status"' not in browser.get("/audit?done=%3Cb%3Eyou%20won").text
    for path in words.NAV:
        assert browser.get(path).status_code == 200
        assert browser.get(path).text.count('aria-current="page"') == 1


def test_where_nobody_can_log_in_yet_the_door_says_how(world: World) -> None:
    text = Browser(world).get("/login").text
    assert "make admin NAME=you" in text and "<form" not in text
