"""The widget's files and pages: types, caching, versions, and policies that let nothing of others run."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from chatproxy.errors import ConfigurationError
from chatproxy.settings import Settings
from chatproxy.web.widget_files import FOLDER, LOADER, PAGES, read
from tests.unit.proxy.fakes import SHOP, World

FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file())
SERVED = [name for name in FILES if name not in (LOADER, *PAGES)]
READ = read()
VERSION = READ.version


def get(path: str, **headers: str) -> TestResponse:
    return World().app.test_client().get(path, headers=headers)


def policy(response: TestResponse) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in response.headers["Content-Security-Policy"].split(";"))
    return {name: value for name, _, value in parts}


def test_the_loader_is_for_every_page_and_names_its_version() -> None:
    response = get("/widget.js")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert response.headers["Cache-Control"] == "public, max-age=300"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert VERSION in response.text
    assert "__VERSION__" not in response.text
    again = get("/widget.js", **{"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert get("/widget.js", **{"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("name", SERVED)
def test_each_file_is_for_ever_under_its_version_and_asked_for_again_under_another(name: str) -> None:
    response = get(f"/widget/{VERSION}/{name}")
    assert response.status_code == 200
    assert response.data == READ.files[name].content
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    kinds = {"js": "text/javascript", "css": "text/css", "json": "application/json", "svg": "image/svg+xml"}
    assert response.headers["Content-Type"] == f"{kinds[name.rpartition('.')[2]]}; charset=utf-8"
    other = get(f"/widget/0000/{name}")
    assert (other.data, other.headers["Cache-Control"]) == (response.data, "no-cache")


@pytest.mark.parametrize("name", SERVED)
def test_files_are_sent_without_what_is_for_people(name: str) -> None:
    sent = READ.files[name].content.decode()
    written = (FOLDER / name).read_text("utf-8")
    assert "/**" not in sent
    assert len(sent) <= len(written)
    if name.endswith(".json"):
        assert json.loads(sent) == json.loads(written)


@pytest.mark.parametrize(
    "name",
    ["widget.js", "chat.html", "../app.py", "lang/../../app.py", "%2e%2e/app.py", "/etc/passwd", "none.js", "lang"],
)
def test_nothing_else_is_served(name: str) -> None:
    response = get(f"/widget/{VERSION}/{name}")
    assert response.status_code == 404
    assert response.is_json


def test_every_change_is_another_version(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    assert read(tmp_path).version == VERSION
    seen = {VERSION}
    for name in FILES:
        text = (tmp_path / name).read_text("utf-8")
        changed = {".js": text + ";0;", ".css": text + "b{color:red}", ".json": text.replace('":', '!":', 1)}
        (tmp_path / name).write_text(changed.get(Path(name).suffix, text + " "), "utf-8")
        seen.add(read(tmp_path).version)
    assert len(seen) == len(FILES) + 1


@pytest.mark.parametrize("name", [LOADER, *PAGES])
def test_a_folder_without_its_main_files_stops_the_start(tmp_path: Path, name: str) -> None:
    for kept in {LOADER, *PAGES} - {name}:
        (tmp_path / kept).write_text("")
    with pytest.raises(ConfigurationError, match=re.escape(name)):
        read(tmp_path)


@pytest.mark.parametrize(("name", "text"), [("photo.tiff", ""), ("chat.html", "__TITLE__")])
def test_what_cannot_be_served_stops_the_start(tmp_path: Path, name: str, text: str) -> None:
    for kept in (LOADER, *PAGES):
        (tmp_path / kept).write_text("")
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(name)):
        read(tmp_path)


class Attributes(HTMLParser):
    """All of a page's attributes, as a browser reads them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value for _, value in attributes if value]


@pytest.mark.parametrize("path", ["/chat", "/demo"])
def test_own_pages_run_own_scripts_alone_and_are_framed_by_nobody(path: str) -> None:
    response = get(f"{path}?bot=support")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert policy(response) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "chat-widget",
        "frame-ancestors": "'none'",
    }
    assert "support" in Attributes(response.text).values
    assert not re.search("__[A-Z_]+__", response.text)


@pytest.mark.parametrize("path", ["/chat", "/demo", "/embed"])
def test_what_the_address_holds_stays_text(path: str) -> None:
    world = World()
    hostile = '"><script>alert(1)</script>__VERSION__ __ORIGIN__'
    plain = world.app.test_client().get(path, query_string={"bot": "b", "site_key": world.site()})
    response = world.app.test_client().get(path, query_string={"bot": hostile, "site_key": world.site()})
    assert hostile in Attributes(response.text).values
    assert Attributes(response.text).tags == Attributes(plain.text).tags


def test_a_page_elsewhere_frames_the_chat_of_its_own_site_key() -> None:
    world = World()
    site = world.site(SHOP, "https://www.shop.example")
    response = world.app.test_client().get(f"/embed?site_key={site}&bot=mira")
    assert response.status_code == 200
    assert policy(response)["frame-ancestors"] == f"{SHOP} https://www.shop.example"
    assert policy(response)["script-src"] == "'self'"
    assert {site, "mira"} <= set(Attributes(response.text).values)


@pytest.mark.parametrize("query", ["", "?site_key=", "?site_key=site_0000000000000000", "?site_key=%3Cb%3E"])
def test_a_frame_without_a_working_site_key_says_why(query: str) -> None:
    response = get(f"/embed{query}")
    assert (response.status_code, response.mimetype) == (403, "text/html")
    assert "unknown, expired or revoked" in response.text
    assert policy(response) == {"default-src": "'none'", "frame-ancestors": "*"}


def test_a_frame_says_so_where_the_database_is_away() -> None:
    world = World()
    site = world.site()
    world.sites.down = True
    response = world.app.test_client().get(f"/embed?site_key={site}")
    assert (response.status_code, response.mimetype) == (503, "text/html")
    assert policy(response)["frame-ancestors"] == "*"


def test_the_own_page_can_be_switched_off() -> None:
    world = World(settings=Settings(trusted_hops=0, chat_page=False))
    client = world.app.test_client()
    for path in ("/chat", "/demo"):
        response = client.get(path)
        assert (response.status_code, response.mimetype) == (404, "text/html")
        assert policy(response)["default-src"] == "'none'"
    assert client.get(f"/demo?site_key={world.site()}").status_code == 200
    assert client.get(f"/embed?site_key={world.site()}").status_code == 200


def test_the_own_page_takes_no_site_key() -> None:
    world = World()
    site = world.site()
    assert site not in world.app.test_client().get(f"/chat?site_key={site}").text
    assert site in world.app.test_client().get(f"/demo?site_key={site}").text
