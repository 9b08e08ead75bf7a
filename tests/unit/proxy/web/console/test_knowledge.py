"""The pages of knowledge over stores in memory: taken in, watched, stopped, scheduled, taken away, tried."""

from __future__ import annotations

import html
import io
import threading
from dataclasses import replace

import pytest

from chatproxy.core import library
from chatproxy.core.passages import Explained, Passage, Seen
from chatproxy.core.sources import Line
from chatproxy.errors import SearchUnavailable
from chatproxy.settings import Settings
from chatproxy.web import knowledge_given
from tests.unit.proxy.core.test_ingest import site
from tests.unit.proxy.fakes import ASSISTANT, MIRA, FakeBots, FakePassages, World
from tests.unit.proxy.knowledge import NOW, Knowledge
from tests.unit.proxy.web.console.browsing import Browser, admitted

START = "http://a.example/"
HOURS = Passage("a", "a", 0, "We open at nine.", ("Hours", "Summer"), "https://shop.example/hours", "summer", score=0.6)


@pytest.fixture
def world() -> World:
    guide = replace(MIRA, knowledge=("site",), mode="sources-only", refusal="Ask us by mail.")
    return World(knowledge=Knowledge(site()), bots=FakeBots(ASSISTANT, guide), passages=FakePassages(HOURS))


@pytest.fixture
def browser(world: World) -> Browser:
    return admitted(world)


def page(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


def add(browser: Browser, **fields: str) -> str:
    """Adds a website; its page."""
    answer = browser.post("/knowledge/websites", {"url": START, "collection": "site", **fields})
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"].partition("?")[0]


def test_a_website_is_added_with_its_settings_and_shown_with_them(world: World, browser: Browser) -> None:
    where = add(
        browser, depth="3", pages="50", rate="0.5", include="/docs/*\r\n/help/*", every_hours="24", language="de"
    )
    (source,) = world.knowledge.sources.kept.values()
    assert where == f"/knowledge/{source.id}"
    assert (source.every_hours, source.language) == (24, "de")
    assert (source.scope["depth"], source.scope["most_pages"], source.scope["rate"]) == (3, 50, 0.5)
    assert tuple(source.scope["include"]) == ("/docs/*", "/help/*")
    text = page(browser, where)
    assert "/docs/*, /help/*" in text and 'value="24"' in text and "waits for its turn" in text
    assert 'data-fresh="3"' in text
    act = world.audit.acts[-1]
    assert (act.what, act.subject, act.outcome) == ("source.add", START, "done")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"url": ""}, "Address: is missing or empty"),
        ({"url": "ftp://a.example/"}, "Address"),
        ({"collection": "Big Shelf"}, "Collection: must be 1 to 64"),
        ({"depth": "deep"}, "Links to follow from the start: must be a whole number, not 'deep'"),
        ({"pages": "0"}, "Pages at most: must be from 1 to 50000"),
        ({"every_hours": "9000"}, "Read again every so many hours: must be from 1 to 8784"),
        ({"exclude": "tags"}, "Never addresses like these: 'tags' must begin with"),
        ({"language": "german"}, "Language: must be two letters"),
    ],
)
def test_a_website_that_cannot_be_added_is_told_beside_the_form(
    world: World, browser: Browser, fields: dict[str, str], told: str
) -> None:
    given = {"url": START, "collection": "site", "rate": "7", **fields}
    answer = browser.post("/knowledge/websites", given)
    assert answer.status_code == 400
    text = html.unescape(answer.text)
    assert told in text and 'role="alert"' in text and 'value="7"' in text
    assert not world.knowledge.sources.kept


def test_a_file_is_taken_in(world: World, browser: Browser) -> None:
    fields = {"file": (io.BytesIO(b"Guide\nIn fog the horn sounds."), "guide.md"), "collection": "manuals"}
    answer = browser.post("/knowledge/files", fields)
    assert answer.status_code == 303
    (source,) = world.knowledge.sources.kept.values()
    assert (source.kind, source.location, source.collection) == ("file", "guide.md", "manuals")
    world.knowledge.run(next(iter(world.knowledge.jobs.kept.values())))
    text = page(browser, f"/knowledge/{source.id}")
    assert "guide.md" in text and "data-fresh" not in text and "Change the schedule" not in text


def test_a_form_without_a_file_or_with_an_empty_one_is_told(world: World, browser: Browser) -> None:
    for fields in ({"collection": "site"}, {"collection": "site", "file": (io.BytesIO(b""), "")}):
        answer = browser.post("/knowledge/files", dict(fields))
        assert answer.status_code == 400 and "File: choose one" in answer.text
    answer = browser.post("/knowledge/files", {"collection": "site", "file": (io.BytesIO(b""), "a.txt")})
    assert answer.status_code == 400 and "File: is empty." in answer.text


def test_a_file_that_is_too_large_is_refused(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "LARGEST_FILE", 1000)
    fields = {"collection": "site", "file": (io.BytesIO(b"x" * 1001), "large.txt")}
    answer = browser.post("/knowledge/files", fields)
    assert answer.status_code == 400 and "File: is larger than" in answer.text


def test_one_file_comes_in_at_a_time_whichever_way(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge_given, "_UPLOAD_WAITS_S", 0.05)
    entered, leave = threading.Event(), threading.Event()
    keep = world.knowledge.originals.keep

    def slowly(*given: object) -> None:
        entered.set()
        assert leave.wait(10)
        keep(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(world.knowledge.originals, "keep", slowly)
    form = {"collection": "site", "file": (io.BytesIO(b"Text"), "one.txt")}
    first = threading.Thread(target=lambda: browser.post("/knowledge/files", form))
    other, client = Browser(world), world.client("admin")
    other.log_in()
    first.start()
    assert entered.wait(10)
    again = other.post("/knowledge/files", {"collection": "site", "file": (io.BytesIO(b"Text"), "two.txt")})
    assert again.status_code == 503 and "Another file is being taken in" in again.text
    by_api = client.post(
        "/api/v1/knowledge/sources", data={"collection": "site", "file": (io.BytesIO(b"Text"), "three.txt")}
    )
    assert by_api.status_code == 503
    leave.set()
    first.join(10)
    assert [source.location for source in world.knowledge.sources.kept.values()] == ["one.txt"]


def test_a_refused_form_leaves_the_way_free_for_the_next(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge_given, "_UPLOAD_WAITS_S", 0.05)
    for csrf in ("wrong", ""):
        forged = {"csrf": csrf, "collection": "site", "file": (io.BytesIO(b"Text"), "one.txt")}
        assert browser.post("/knowledge/files", forged).status_code == 403
    assert browser.post("/knowledge/files", {"collection": "site"}).status_code == 400
    fields = {"collection": "site", "file": (io.BytesIO(b"Text"), "one.txt")}
    assert browser.post("/knowledge/files", fields).status_code == 303


def test_jobs_are_paused_resumed_and_cancelled(world: World, browser: Browser) -> None:
    where = add(browser)
    (job,) = world.knowledge.jobs.kept
    listed = page(browser, "/knowledge")
    assert 'data-fresh="3"' in listed and "reading a website" in listed
    beside = {"from": "source"}
    assert browser.post(f"/knowledge/jobs/{job}/pause", beside).headers["Location"] == f"{where}?done=job.pause"
    assert "Resume" in page(browser, where)
    assert browser.post(f"/knowledge/jobs/{job}/resume").headers["Location"] == "/knowledge?done=job.resume"
    browser.post(f"/knowledge/jobs/{job}/cancel", beside)
    assert world.knowledge.jobs.kept[job].state == "cancelled"
    ended = browser.post(f"/knowledge/jobs/{job}/pause")
    assert ended.status_code == 409 and "it is cancelled" in ended.text
    assert [act.what for act in world.audit.acts[-4:]] == ["job.pause", "job.resume", "job.cancel", "job.pause"]


def test_a_source_is_read_again_scheduled_and_removed(world: World, browser: Browser) -> None:
    where = add(browser)
    knowledge = world.knowledge
    knowledge.run(next(iter(knowledge.jobs.kept.values())))
    assert "done" in page(browser, where)
    assert browser.post(f"{where}/sync").status_code == 303
    assert len(knowledge.jobs.kept) == 2
    assert browser.post(f"{where}/schedule", {"every_hours": "48"}).status_code == 303
    (source,) = knowledge.sources.kept.values()
    assert source.every_hours == 48
    refused = browser.post(f"{where}/schedule", {"every_hours": "0"})
    assert refused.status_code == 400 and "must be from 1 to 8784" in refused.text
    browser.post(f"{where}/schedule", {"every_hours": ""})
    assert next(iter(knowledge.sources.kept.values())).every_hours is None
    assert browser.post(f"{where}/remove").headers["Location"] == "/knowledge?done=source.remove"
    assert [job.kind for job in knowledge.jobs.kept.values()][-1] == "remove"
    busy = browser.post("/knowledge/websites", {"url": START, "collection": "site"})
    assert busy.status_code in (303, 409)
    assert browser.post("/knowledge/rebuild").status_code == 303


def test_a_report_tells_its_errors_in_plain_words(world: World, browser: Browser) -> None:
    where = add(browser)
    (job,) = world.knowledge.jobs.kept.values()
    lines = (Line(f"{START}x", "fetch_status", "HTTP 500"), Line(f"{START}y", "moved", "to <b>elsewhere</b>"))
    world.knowledge.jobs.kept[job.id] = replace(job, state="done", report=lines, unlisted=3, finished_at=NOW)
    raw = browser.get(where).text
    text = html.unescape(raw)
    assert "The server answered with an error: 1" in text and "HTTP 500" in text
    assert "Moved to another address: 1" in text and "<b>elsewhere" not in raw
    assert "3 lines more" in text


def test_an_empty_collection_that_a_bot_names_is_pointed_out(browser: Browser) -> None:
    assert "A bot answers from this collection, and there is nothing in it yet" in page(browser, "/knowledge")


@pytest.mark.parametrize("path", ["/knowledge/0123456789abcdef", "/knowledge/nonsense", "/knowledge/websites"])
def test_an_unknown_source_is_not_found(browser: Browser, path: str) -> None:
    assert browser.get(path).status_code == 404


def test_a_question_is_tried_with_scores_and_reasons(world: World, browser: Browser) -> None:
    seen = Seen(HOURS, cosine=0.61, words=4.2, relevance=0.93)
    world.passages.explained = Explained((seen,), True, 0.93, 0.1)
    answer = browser.post("/knowledge/try", {"question": "When do you open?", "where": "bot:mira"})
    text = html.unescape(answer.text)
    assert answer.status_code == 200
    for told in ("Hours › Summer", "https://shop.example/hours#summer", "We open at nine."):
        assert told in text
    for told in ("Reranked: 0.93", "Near in meaning: 0.61", "Shares words: 4.2", "0.93, 0.10 is needed"):
        assert told in text
    assert world.passages.asked[-1] == (("site",), "When do you open?", "")
    assert world.audit.acts[-1].subject == "bot:mira" and "open" not in str(world.audit.acts)


def test_a_bot_of_sources_only_would_refuse_what_is_not_near_enough(world: World, browser: Browser) -> None:
    world.passages.explained = Explained((Seen(HOURS, cosine=0.2),), False, 0.21, 0.4)
    text = html.unescape(browser.post("/knowledge/try", {"question": "Cake?", "where": "bot:mira"}).text)
    assert "Mira would refuse: <q>Ask us by mail.</q>" in text and "What came nearest is below" in text
    other = html.unescape(browser.post("/knowledge/try", {"question": "Cake?", "where": "collection:site"}).text)
    assert "would answer without passages" in other


def test_a_trial_that_cannot_be_is_told(world: World, browser: Browser) -> None:
    for fields in ({"question": "", "where": "bot:mira"}, {"question": "x", "where": "bot:assistant"}):
        answer = browser.post("/knowledge/try", fields)
        assert answer.status_code == 400 and 'role="alert"' in answer.text
    world.passages.error = SearchUnavailable("away")
    answer = browser.post("/knowledge/try", {"question": "x", "where": "bot:mira"})
    assert answer.status_code == 502 and "The search service gave no usable answer." in answer.text


def test_a_page_never_links_to_what_is_no_web_address(world: World, browser: Browser) -> None:
    world.passages.found = (replace(HOURS, url="javascript:alert(1)", anchor=""),)
    answer = browser.post("/knowledge/try", {"question": "x", "where": "bot:mira"})
    assert 'href="javascript:' not in answer.text


def test_uploads_wait_for_no_stranger(world: World) -> None:
    stranger = Browser(World(settings=Settings(trusted_hops=0)))
    answer = stranger.post("/knowledge/files", {"collection": "site", "file": (io.BytesIO(b"Text"), "one.txt")})
    assert answer.status_code == 303 and answer.headers["Location"].startswith("/login")
