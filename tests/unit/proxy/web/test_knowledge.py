"""/api/v1/knowledge over stores in memory: what is taken in, how it is shown, what is refused and by which name."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from chatproxy.core import library
from chatproxy.core.sources import Line
from chatproxy.settings import Settings
from chatproxy.web import knowledge_given
from tests.unit.proxy.core.test_ingest import site
from tests.unit.proxy.fakes import ASSISTANT, MIRA, FakeBots, World
from tests.unit.proxy.knowledge import NOW, Knowledge

SOURCES = "/api/v1/knowledge/sources"
JOBS = "/api/v1/knowledge/jobs"
START = "http://a.example/"


@pytest.fixture
def world() -> World:
    bots = FakeBots(replace(ASSISTANT, knowledge=("manuals", "site")), MIRA)
    return World(knowledge=Knowledge(site()), bots=bots)


@pytest.fixture
def admin(world: World) -> FlaskClient:
    return world.client("admin")


def add(admin: FlaskClient, **fields: Any) -> TestResponse:
    return admin.post(SOURCES, json={"url": START, "collection": "site", **fields})


def upload(admin: FlaskClient, data: bytes, name: str = "guide.md", **fields: str) -> TestResponse:
    return admin.post(SOURCES, data={"file": (io.BytesIO(data), name), "collection": "site", **fields})


def message(response: TestResponse) -> str:
    return str(response.get_json()["error"]["message"])


def events(response: TestResponse) -> list[tuple[str, dict[str, Any]]]:
    frames = [frame for frame in response.get_data(as_text=True).split("\n\n") if frame.startswith("event:")]
    return [(f.split("\n")[0][7:], json.loads(f.partition("data: ")[2])) for f in frames]


def test_a_website_is_added_with_its_settings_and_shown_with_them(world: World, admin: FlaskClient) -> None:
    given = {"depth": 3, "pages": 50, "rate": 0.5, "include": ["/docs/*"], "exclude": ["re:/[0-9]+$"]}
    given["allow_private"] = ["intranet.example:8080"]
    response = add(admin, **given, every_hours=24, language="de")
    assert response.status_code == 202
    told = response.get_json()
    source = told["source"]
    assert (source["kind"], source["location"], source["collection"]) == ("website", START, "site")
    assert (source["settings"], source["every_hours"], source["language"]) == (given, 24, "de")
    assert (told["job"]["kind"], told["job"]["state"], told["job"]["source"]) == ("sync", "waiting", source["id"])
    assert admin.get(SOURCES).get_json()["sources"] == [source]


def test_a_bot_stands_for_its_first_collection(admin: FlaskClient) -> None:
    told = admin.post(SOURCES, json={"url": START, "bot": "assistant"}).get_json()
    assert told["source"]["collection"] == "manuals"


def test_a_file_is_taken_in_as_a_form(world: World, admin: FlaskClient) -> None:
    told = upload(admin, b"Guide\nIn fog the horn sounds.", language="en").get_json()
    assert (told["source"]["kind"], told["source"]["location"], told["source"]["settings"]) == (
        "file",
        "guide.md",
        None,
    )
    assert list(world.knowledge.originals.kept.values()) == [b"Guide\nIn fog the horn sounds."]
    job = world.knowledge.run(world.knowledge.jobs.kept[told["job"]["id"]])
    assert job.state == "done"
    assert world.knowledge.texts() == ["In fog the horn sounds."]


def test_a_file_may_be_larger_than_other_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(settings=Settings(trusted_hops=0, max_body_bytes=1024))
    admin = world.client("admin")
    assert upload(admin, b"x" * 5000).status_code == 202
    assert add(admin, url=f"{START}{'x' * 1100}").status_code == 413
    monkeypatch.setattr(knowledge_given, "LARGEST_FORM", 4096)
    response = upload(admin, b"x" * 5000)
    assert (response.status_code, response.get_json()["error"]["code"]) == (413, "too_large")


def test_a_file_beyond_what_is_read_is_refused_by_name(admin: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "LARGEST_FILE", 3 << 20)
    response = upload(admin, b"x" * (3 << 20))
    assert response.status_code == 202
    response = upload(admin, b"x" * ((3 << 20) + 1))
    assert (response.status_code, message(response)) == (400, "file: is larger than 3 MB.")


def test_a_second_file_waits_for_the_first(world: World, admin: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge_given, "_UPLOAD_WAITS_S", 0.05)
    came, go = threading.Event(), threading.Event()
    originals = world.knowledge.originals
    keep = originals.keep

    def slow(key: str, data: Any) -> None:
        came.set()
        assert go.wait(10)
        keep(key, data)

    monkeypatch.setattr(originals, "keep", slow)
    first: list[TestResponse] = []
    thread = threading.Thread(target=lambda: first.append(upload(world.client("admin"), b"one", "one.txt")))
    thread.start()
    assert came.wait(10)
    second = upload(admin, b"two", "two.txt")
    go.set()
    thread.join()
    assert (second.status_code, second.headers["Retry-After"]) == (503, "5")
    assert first[0].status_code == 202
    assert upload(admin, b"two", "two.txt").status_code == 202


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"url": ""}, "url: is missing"),
        ({"url": "ftp://a.example/"}, "url: 'ftp://a.example/' cannot be used"),
        ({"url": "http://user:secret@a.example/"}, "url: "),
        ({"collection": "No Such"}, "collection: must be"),
        ({"bot": "assistant"}, "collection: either it or bot"),
        ({"collection": None}, "collection: either it or bot"),
        ({"collection": None, "bot": "mira"}, "bot: mira answers from no collection"),
        ({"depth": 101}, "depth: must be"),
        ({"depth": "3"}, "depth: must be a number"),
        ({"pages": 0}, "pages: must be"),
        ({"rate": -1}, "rate: must be"),
        ({"every_hours": 0}, "every_hours: must be"),
        ({"include": ["docs"]}, "include: 'docs' must begin with"),
        ({"exclude": ["re:("]}, "exclude: "),
        ({"include": "/docs"}, "include: must be a list"),
        ({"allow_private": ["10.0.0.0/8"]}, "allow_private: "),
        ({"language": "german"}, "language: must be two letters"),
        ({"follow": "links"}, "follow: no such field"),
    ],
)
def test_a_bad_wish_is_refused_by_the_name_it_was_given_with(
    world: World, admin: FlaskClient, wish: dict[str, Any], named: str
) -> None:
    response = add(admin, **wish)
    assert (response.status_code, message(response)[: len(named)]) == (400, named)
    assert world.knowledge.sources.kept == {}
    assert world.knowledge.jobs.kept == {}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"file": (io.BytesIO(b""), "a.txt"), "collection": "site"}, "file: is empty"),
        ({"file": "text without a name", "collection": "site"}, "file: must be there as a file"),
        ({"collection": "site"}, "file: must be there as a file"),
        ({"file": (io.BytesIO(b"x"), "a.txt")}, "collection: either it or bot"),
        ({"file": (io.BytesIO(b"x"), "x" * 301), "collection": "site"}, "file: must be 1 to 300 printable"),
        ({"file": (io.BytesIO(b"x"), "a.txt"), "depth": "3"}, "depth: no such field"),
        ({"file": [(io.BytesIO(b"x"), "a.txt"), (io.BytesIO(b"y"), "b.txt")], "collection": "a"}, "file: is given 2"),
    ],
)
def test_a_bad_form_is_refused_by_the_name_of_its_field(admin: FlaskClient, fields: dict[str, Any], named: str) -> None:
    response = admin.post(SOURCES, data=fields, content_type="multipart/form-data")
    assert (response.status_code, message(response)[: len(named)]) == (400, named)


def test_a_form_without_its_boundary_is_refused(admin: FlaskClient) -> None:
    response = admin.post(SOURCES, data=b"x", headers={"Content-Type": "multipart/form-data"})
    assert (response.status_code, message(response)[:5]) == (400, "file:")


def test_a_source_is_shown_with_its_failed_documents_and_its_report(world: World, admin: FlaskClient) -> None:
    world.knowledge.pages["http://a.example/broken"] = "!"
    told = add(admin).get_json()
    world.knowledge.run(world.knowledge.jobs.kept[told["job"]["id"]])
    shown = admin.get(f"{SOURCES}/{told['source']['id']}").get_json()
    assert [(each["url"], each["code"]) for each in shown["failed"]] == [("http://a.example/broken", "document_broken")]
    assert shown["job"]["state"] == "done"
    assert [line["code"] for line in shown["job"]["report"]] == ["document_broken"]


def test_a_schedule_is_changed_and_ended(world: World, admin: FlaskClient) -> None:
    source = add(admin, every_hours=24).get_json()["source"]["id"]
    assert admin.patch(f"{SOURCES}/{source}", json={"every_hours": 48}).get_json()["every_hours"] == 48
    assert (world.knowledge.sources.next_sync[source] - NOW).total_seconds() == 48 * 3600
    assert admin.patch(f"{SOURCES}/{source}", json={"every_hours": None}).get_json()["every_hours"] is None
    assert world.knowledge.sources.next_sync == {}
    assert message(admin.patch(f"{SOURCES}/{source}", json={})).startswith("every_hours: is missing")
    file = upload(admin, b"x").get_json()["source"]["id"]
    assert message(admin.patch(f"{SOURCES}/{file}", json={"every_hours": 2})).startswith("every_hours: is for websites")


def test_a_source_is_read_again_and_taken_away(world: World, admin: FlaskClient) -> None:
    told = add(admin).get_json()
    where = f"{SOURCES}/{told['source']['id']}"
    assert admin.post(f"{where}/sync").get_json()["job"]["id"] == told["job"]["id"]  # it has not begun yet
    removal = admin.delete(where)
    assert (removal.status_code, removal.get_json()["job"]["kind"]) == (202, "remove")
    assert world.knowledge.jobs.kept[told["job"]["id"]].state == "cancelled"
    world.knowledge.run(world.knowledge.jobs.kept[removal.get_json()["job"]["id"]])
    assert admin.get(where).status_code == 404
    assert admin.get(SOURCES).get_json() == {"sources": []}


def test_jobs_are_listed_newest_first_without_their_reports(world: World, admin: FlaskClient) -> None:
    first = add(admin).get_json()["job"]["id"]
    second = admin.post("/api/v1/knowledge/rebuild").get_json()["job"]
    listed = admin.get(JOBS).get_json()["jobs"]
    assert [job["id"] for job in listed] == [second["id"], first]
    assert second["kind"] == "rebuild"
    assert "report" not in listed[0]
    assert len(admin.get(f"{JOBS}?limit=1").get_json()["jobs"]) == 1
    assert message(admin.get(f"{JOBS}?limit=0")).startswith("limit: ")


def test_a_job_is_paused_resumed_and_ended_once(admin: FlaskClient) -> None:
    job = f"{JOBS}/{add(admin).get_json()['job']['id']}"
    assert admin.post(f"{job}/pause").get_json()["state"] == "paused"
    assert admin.post(f"{job}/resume").get_json()["state"] == "waiting"
    assert admin.post(f"{job}/cancel").get_json()["state"] == "cancelled"
    for verb in ("pause", "resume", "cancel"):
        response = admin.post(f"{job}/{verb}")
        assert (response.status_code, response.get_json()["error"]["code"]) == (409, "job_ended")
        assert message(response) == "This job has ended: it is cancelled."


@pytest.mark.parametrize("key", ["0" * 16, "0", "..", "ABCDEF0123456789"])
def test_what_is_not_there_is_not_found(admin: FlaskClient, key: str) -> None:
    calls = [("GET", f"{SOURCES}/{key}"), ("DELETE", f"{SOURCES}/{key}"), ("POST", f"{SOURCES}/{key}/sync")]
    calls += [("GET", f"{JOBS}/{key}"), *(("POST", f"{JOBS}/{key}/{verb}") for verb in ("pause", "resume", "cancel"))]
    for method, path in calls:
        assert admin.open(path, method=method).status_code == 404, (method, path)
    assert admin.patch(f"{SOURCES}/{key}", json={"every_hours": 3}).status_code == 404


def test_a_job_is_watched_to_its_end(world: World, admin: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatproxy.web.knowledge._POLLED_EVERY_S", 0.001)
    job = world.knowledge.jobs.kept[add(admin).get_json()["job"]["id"]]
    states = iter([replace(job, state="running"), replace(job, state="running"), ended(job)])
    watched = admin.get(f"{JOBS}/{job.id}", headers={"Accept": "text/event-stream"}, buffered=False)
    assert watched.mimetype == "text/event-stream"
    monkeypatch.setattr(world.knowledge.jobs, "find", lambda _: next(states))
    told = events(watched)
    assert [(name, data["state"]) for name, data in told] == [
        ("progress", "waiting"),
        ("progress", "running"),
        ("end", "done"),
    ]
    assert told[-1][1]["report"] == [{"url": "http://a.example/x", "code": "vanished", "message": "HTTP 404"}]


def ended(job: Any) -> Any:
    return replace(job, state="done", report=(Line("http://a.example/x", "vanished", "HTTP 404"),))


def test_a_job_that_has_ended_is_one_event(world: World, admin: FlaskClient) -> None:
    job = add(admin).get_json()["job"]["id"]
    admin.post(f"{JOBS}/{job}/cancel")
    (event,) = events(admin.get(f"{JOBS}/{job}", headers={"Accept": "text/event-stream"}))
    assert (event[0], event[1]["state"], event[1]["report"]) == ("end", "cancelled", [])


def test_a_database_that_goes_away_ends_the_watching_with_its_code(
    world: World, admin: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatproxy.web.knowledge._POLLED_EVERY_S", 0.001)
    job = add(admin).get_json()["job"]["id"]
    watched = admin.get(f"{JOBS}/{job}", headers={"Accept": "text/event-stream"}, buffered=False)
    world.knowledge.jobs.down = True
    assert [(name, data.get("code")) for name, data in events(watched)][-1] == ("error", "storage_unavailable")


def test_watchers_are_bounded_and_make_room_when_they_leave(admin: FlaskClient) -> None:
    job = add(admin).get_json()["job"]["id"]

    def watch() -> TestResponse:
        return admin.get(f"{JOBS}/{job}", headers={"Accept": "text/event-stream"}, buffered=False)

    watching = [watch() for _ in range(8)]
    assert {each.status_code for each in watching} == {200}
    assert watch().status_code == 503
    for each in watching:
        each.close()
    again = watch()
    assert again.status_code == 200
    again.close()


def test_nobody_without_the_scope_gets_anything(world: World) -> None:
    client = world.client("chat", "kobold")
    assert add(client).status_code == 403
    assert client.get(SOURCES).status_code == 403
    assert world.knowledge.sources.kept == {}
