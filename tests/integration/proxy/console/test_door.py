"""The console's door over HTTP: real argon2, real mongod, parallel attackers; and nobody finds it from outside."""

from __future__ import annotations

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from chatproxy.adapters.mongo import Database
from scripts.lib.native import NativeStack
from tests.integration.proxy.console.conftest import PASSWORD, Visit, command
from tests.unit.proxy.fakes import World
from tests.unit.proxy.web.console.test_door import path_of


@pytest.fixture
def anna(appliance: NativeStack) -> str:
    assert command(appliance, "admins", "put", "--name=anna", "--password-stdin", given=f"{PASSWORD}\n").returncode == 0
    return "anna"


@pytest.fixture(autouse=True)
def _no_attempts_before(database: Database) -> None:
    with database.collection("usage") as usage:
        usage.delete_many({})


def test_the_way_in_and_out(visit: Visit, anna: str, database: Database) -> None:
    assert visit.get("/audit").url.endswith("/login?next=%2Faudit")
    assert visit.log_in(anna, "wrong password").status_code == 401
    entered = visit.log_in(anna)
    assert (entered.status_code, entered.headers["Location"]) == (303, "/")
    with database.collection("admins") as admins, database.collection("admin_sessions") as sessions:
        stored = admins.find_one({"_id": "anna"})
        assert stored and stored["digest"].startswith("$argon2id$v=19$m=65536,t=3,p=4$")
        assert visit.session.cookies["console"] not in str(list(sessions.find()))
    assert "Log out" in visit.get("/").text
    assert visit.form("/logout").status_code == 303
    assert "Log out" not in visit.get("/").text


def test_parallel_attackers_get_no_more_than_the_limit(appliance: NativeStack, anna: str, database: Database) -> None:
    def attempt(number: int) -> int:
        return Visit(appliance, "10.99.0.1").log_in(anna, f"guess number {number}").status_code

    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(attempt, range(60)))
    assert sorted(set(answers)) == [401, 429]
    assert answers.count(401) == 10
    assert Visit(appliance, "10.99.0.1").log_in(anna).status_code == 429
    assert Visit(appliance).log_in(anna).status_code == 303
    with database.collection("audit") as audit:
        assert audit.count_documents({"what": "log-in", "outcome": "rate_limited"}) >= 51


def test_an_unknown_name_takes_as_long_as_a_known_one(appliance: NativeStack, anna: str) -> None:
    def timed(name: str) -> float:
        begun = time.perf_counter()
        assert Visit(appliance).log_in(name, "wrong password").status_code == 401
        return time.perf_counter() - begun

    timed("nobody")  # makes the hash that nobody's password is compared with
    known, unknown = min(timed(anna) for _ in range(4)), min(timed("nobody") for _ in range(4))
    assert known / 2 < unknown < known * 2


def test_sessions_and_attempts_outlive_the_proxy(appliance: NativeStack, anna: str) -> None:
    visit, attacker = Visit(appliance), Visit(appliance)
    assert visit.log_in(anna).status_code == 303
    for _ in range(10):
        attacker.log_in("nobody", "wrong")
    appliance.stop("proxy")
    appliance.start("proxy")
    assert "Log out" in visit.get("/audit").text
    assert attacker.log_in("nobody", "wrong").status_code == 429


def test_a_new_password_by_make_admin_logs_everybody_of_that_name_out(appliance: NativeStack, anna: str) -> None:
    visit = Visit(appliance)
    visit.log_in(anna)
    made = command(appliance, "admins", "put", f"--name={anna}")
    password = made.stdout.strip()
    assert "Log out" not in visit.get("/audit").text
    assert visit.log_in(anna, PASSWORD).status_code == 401
    assert visit.log_in(anna, password).status_code == 303
    assert password not in appliance.log("proxy").read_text() and "shown once" in made.stderr
    assert '"name": "anna"' in command(appliance, "admins", "list", "--json").stdout
    assert command(appliance, "admins", "remove", anna).returncode == 0
    assert "Log out" not in visit.get("/audit").text
    command(appliance, "admins", "put", "--name=berta", "--password-stdin", given=f"{PASSWORD}\n")
    visit.log_in("berta")
    shown = visit.get("/audit?actor=operator").text
    assert "admin.remove" in shown and "admin.put" in shown


def test_what_make_does_is_in_the_audit(appliance: NativeStack, visit: Visit, anna: str) -> None:
    key = command(appliance, "keys", "create", "--name=x", "--scopes=admin").stdout.strip()
    made = command(appliance, "keys", "list", "--json").stdout
    found = re.search(r'"id": "([0-9a-f]+)", "name": "x"', made)
    assert found
    site = command(appliance, "keys", "create", "--name=y", "--origins=https://example.com").stdout.split()[0]
    source = command(appliance, "sources", "add-url", "https://example.com/docs")
    assert source.returncode == 0, source.stderr
    requests.post(
        f"{appliance.proxy_url}/api/v1/knowledge/jobs/0123456789abcdef/cancel",
        headers={"Authorization": f"Bearer {key}"},
        timeout=10,
    )
    command(appliance, "keys", "revoke", found[1])
    visit.log_in(anna)
    rows = [re.sub(r"<[^>]+>|\s+", " ", row) for row in visit.get("/audit").text.split("<tr>")]
    for words in (
        ("operator", "key.create", found[1]),
        ("operator", "key.create", site),
        ("operator", "source.add-url", "https://example.com/docs"),
        (f"key:{found[1]}", "knowledge.cancel", "0123456789abcdef", "http_404"),
        ("operator", "key.revoke", found[1]),
        ("anna", "log-in", "done"),
    ):
        assert any(all(word in row for word in words) for row in rows), words


def test_what_ends_by_itself_has_an_index_that_ends_it(visit: Visit, anna: str, database: Database) -> None:
    """Sessions at once; the journal is ended by core/expiry.py, which believes no clock that jumps."""
    visit.log_in(anna)
    for name, field, seconds in (("admin_sessions", "expires_at", 0), ("audit", "at", 2**31 - 1)):
        with database.collection(name) as collection:
            ending = [each for each in collection.list_indexes() if "expireAfterSeconds" in each]
            assert [(dict(each["key"]), each["expireAfterSeconds"]) for each in ending] == [({field: 1}, seconds)]


def _raw(port: int, request: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        received = b""
        while part := connection.recv(65536):
            received += part
        return received


def _console_paths() -> list[tuple[str, str]]:
    rules = World().console.url_map.iter_rules()
    return sorted((method, path_of(rule.rule)) for rule in rules for method in (rule.methods or set()))


def test_every_page_of_the_console_is_a_404_for_the_world(appliance: NativeStack, visit: Visit, anna: str) -> None:
    """Also for somebody who has logged in, and who says that it is the console."""
    visit.log_in(anna)
    public = {rule.rule for rule in World().app.url_map.iter_rules()}
    port = appliance.ports["console"]
    claims = {
        "X-Forwarded-Port": str(port),
        "X-Forwarded-Host": f"127.0.0.1:{port}",
        "Forwarded": f"host=127.0.0.1:{port}",
    }
    for method, path in _console_paths():
        if path in public:
            continue
        answer = visit.session.request(
            method, f"{appliance.proxy_url}{path}", headers=claims, timeout=10, allow_redirects=False
        )
        assert answer.status_code == 404, (method, path, answer.status_code)
        assert "console" not in answer.text.lower()


@pytest.mark.parametrize(
    "head",
    [
        "GET /login HTTP/1.1\nHost: 127.0.0.1:{console}",
        "GET http://127.0.0.1:{console}/login HTTP/1.1\nHost: 127.0.0.1:{console}",
        "GET http://proxy-admin:8081/login HTTP/1.1\nHost: proxy-admin:8081",
        "GET /login HTTP/1.1\nHost: x\nX-Forwarded-Port: {console}\nX-Forwarded-Host: x:{console}",
        "GET /login HTTP/1.1\nHost: x\nServer-Port: {console}\nSERVER_PORT: {console}\nScript-Name: /",
        "GET /login HTTP/1.0\nX-Server-Port: {console}",
        "GET /login HTTP/1.1\nHost: x:{console}\nForwarded: for=10.13.13.2;host=x:{console};proto=http",
        "GET //login HTTP/1.1\nHost: 127.0.0.1:{console}",
    ],
)
def test_no_words_of_a_request_choose_the_listener(appliance: NativeStack, head: str) -> None:
    request = head.format(console=appliance.ports["console"]) + "\nConnection: close\n\n"
    answer = _raw(appliance.ports["proxy"], request)
    assert re.match(rb"HTTP/1\.[01] (404|400) ", answer), answer[:300]
    assert b"Log in" not in answer and b"Content-Security-Policy: default-src 'none'; style-src" not in answer
    # The same words where the console listens: it is there.
    if head.startswith("GET /login HTTP/1.1\nHost: 127"):
        assert b"Log in" in _raw(appliance.ports["console"], request)


def test_the_public_side_is_not_on_the_consoles_listener(appliance: NativeStack) -> None:
    for path in ("/api/v1/chat", "/healthz", "/chat", "/widget.js", "/v1/models"):
        assert requests.get(f"{appliance.console_url}{path}", timeout=10, allow_redirects=False).status_code == 404
