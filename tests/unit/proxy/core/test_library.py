"""What owners do with sources: add, replace, add again, remove, and what a job tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from chatproxy.core.sources import Report
from chatproxy.errors import InvalidRequest, NotFound, SearchUnavailable, SourceBusy
from tests.unit.proxy.core.test_ingest import agree, read, site
from tests.unit.proxy.knowledge import NOW, Knowledge


def test_a_file_takes_the_place_of_the_one_of_its_name() -> None:
    world = Knowledge()
    _, job = world.library.add_file("site", "guide.txt", b"Guide\nForty seconds.")
    assert world.run(job).state == "done"
    source, job = world.library.add_file("site", "guide.txt", b"Guide\nSixty seconds.")
    assert len(world.originals.kept) == 2
    assert world.run(job).state == "done"
    assert world.texts() == ["Sixty seconds."]
    agree(world)
    assert world.sources.kept[source.id].state == "done"


def test_a_file_given_twice_before_it_is_read_is_read_once() -> None:
    world = Knowledge()
    _, first = world.library.add_file("site", "guide.txt", b"Guide\nForty seconds.")
    _, second = world.library.add_file("site", "guide.txt", b"Guide\nSixty seconds.")
    assert first == second
    assert world.run(first).progress.read == 1
    assert world.texts() == ["Sixty seconds."]
    agree(world)


def test_a_source_added_twice_is_one_with_one_job() -> None:
    world = Knowledge(site())
    assert world.begin() == world.begin()
    assert len(world.sources.kept) == 1


def test_removing_ends_other_work_on_the_source() -> None:
    world = Knowledge(site())
    job = world.begin()
    world.library.remove(job.source_id)
    assert world.jobs.kept[job.id].state == "cancelled"


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"collection": "Not this"}, "collection"),
        ({"language": "german"}, "language"),
        ({"name": "a\nb"}, "name"),
        ({"data": b""}, "file"),
    ],
)
def test_a_bad_wish_names_its_field(wish: dict[str, Any], field: str) -> None:
    given: dict[str, Any] = {"collection": "site", "name": "a.txt", "data": b"x", "language": "", **wish}
    with pytest.raises(InvalidRequest, match=f"^{field}: "):
        Knowledge().library.add_file(given["collection"], given["name"], given["data"], language=given["language"])


def test_what_is_not_there_is_not_found() -> None:
    world = Knowledge()
    for call in (world.library.remove, world.library.shelf, world.library.job, world.library.sync):
        with pytest.raises(NotFound):
            call("0" * 16)


def test_a_report_stays_within_bounds_and_says_what_it_left_out() -> None:
    report = Report()
    for number in range(600):
        report.say(f"http://a.example/{number}", "fetch_status", "HTTP 500")
    report.say("http://a.example/1", "fetch_status", "HTTP 500")
    assert (len(report.lines), report.unlisted, report.progress.errors) == (500, 100, 600)


def test_what_was_begun_and_never_ended_is_removed_with_its_source() -> None:
    world = Knowledge(site())
    job = world.begin()
    world.embedder.error = SearchUnavailable("away")
    with pytest.raises(SearchUnavailable):
        world.run(job)
    assert world.documents.all_chunks
    world.run(world.library.remove(job.source_id))
    assert not any(world.state())


def test_a_source_given_again_before_its_removal_has_begun_stays() -> None:
    world = read(site())
    before = world.state()
    removal = world.library.remove(next(iter(world.sources.kept)))
    again = world.begin()
    assert world.jobs.kept[removal.id].state == "cancelled"
    assert world.run(again).state == "done"
    assert world.state() == before


def test_a_source_whose_removal_has_begun_is_not_given_again_and_the_removal_goes_on() -> None:
    world = read(site())
    removal = world.library.remove(next(iter(world.sources.kept)))
    world.jobs.take("w", NOW, NOW)
    with pytest.raises(SourceBusy):
        world.begin()
    assert world.jobs.kept[removal.id].wanted == "run"
    world.run(removal)
    assert not any(world.state())


def test_what_a_server_says_of_itself_does_not_swell_the_report() -> None:
    report = Report()
    report.say("http://a.example/" + "x" * 10**6, "media_type", "y" * 10**6)
    (line,) = report.lines
    assert len(line.url) + len(line.message) < 3000
