"""Documents on their way into chunks, vectors and words: changed, unchanged, gone, broken, alike, and killed midway."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest

from chatproxy.errors import SearchUnavailable
from tests.unit.proxy.knowledge import Knowledge
from tests.unit.proxy.knowledge_memory import KilledError

A, B, C, D = (f"http://a.example/{name}" for name in "abcd")
LONG = "\n".join(
    f"# Part {n}\nSentence {n} of many that fill the page with words, word after word, {n} times." for n in range(6)
)


def site() -> dict[str, str]:
    return {
        A: f"Lamps\n{LONG}",
        B: "Hours\nOpen from nine to five.",
        C: "Ferry\nIt runs every hour.",
        D: "Ferry\nIt runs every hour.",
    }


def read(pages: dict[str, str]) -> Knowledge:
    world = Knowledge(pages)
    assert world.run(world.begin()).state == "done"
    return world


def agree(world: Knowledge) -> None:
    """Vectors and words hold exactly the chunks that are searched, and chunks only of the versions that count."""
    searched = {key for key, each in world.documents.all_chunks.items() if not each.twin}
    assert set(world.vectors.kept.get("site", {})) == searched
    assert set(world.words.kept) == searched
    for each in world.documents.all_chunks.values():
        assert each.version == world.documents.kept[each.document_id].version
    assert set(world.originals.kept) == {each.original for each in world.documents.kept.values()}


def test_every_page_is_read_into_all_stores() -> None:
    world = read(site())
    agree(world)
    job = next(iter(world.jobs.kept.values()))
    assert (job.progress.read, job.progress.errors, job.progress.todo) == (4, 0, 0)
    assert "Open from nine to five." in world.texts()
    assert {each.chunk.path[0] for each in world.documents.all_chunks.values()} == {"Lamps", "Hours", "Ferry"}


def test_a_second_reading_embeds_only_what_changed() -> None:
    pages = site()
    world = read(pages)
    world.embedder.texts.clear()
    pages[B] = "Hours\nOpen from ten to four."
    del pages[A]
    job = world.run(world.begin())
    assert (job.progress.read, job.progress.unchanged, job.progress.removed) == (1, 2, 1)
    assert world.embedder.texts == ["Hours\nOpen from ten to four."]
    assert "Open from nine to five." not in world.texts()
    agree(world)


def test_texts_are_embedded_by_length_and_each_chunk_has_its_own_vector() -> None:
    long = "\n".join(f"# Part {at}\n{'word ' * (at * 7 % 30 + 3)}" for at in range(30))
    world = read({A: f"Lamps\n{long}"})
    chunks = {key: each.chunk.embedded for key, each in world.documents.all_chunks.items()}
    assert len(chunks) > 16
    assert [len(text) for text in world.embedder.texts] == sorted(len(text) for text in chunks.values())
    assert {key: vector[0] for key, vector in world.vectors.kept["site"].items()} == {
        key: float(len(text)) for key, text in chunks.items()
    }


def test_a_page_as_it_was_is_not_embedded_again_where_its_server_does_not_say_so() -> None:
    pages = site()
    world = read(pages)
    for key, record in world.documents.kept.items():
        world.documents.kept[key] = replace(record, etag="other")
    world.embedder.texts.clear()
    job = world.run(world.begin())
    assert (job.progress.read, job.progress.unchanged) == (0, 4)
    assert world.embedder.texts == []


def test_the_same_under_the_same_title_is_searched_once() -> None:
    world = read(site())
    assert world.texts().count("It runs every hour.") == 1
    assert world.texts(searched=False).count("It runs every hour.") == 2


def test_the_same_words_under_another_title_say_something_else() -> None:
    world = read({A: "Berlin\nOpen from nine to five.", B: "Paris\nOpen from nine to five."})
    assert world.texts() == ["Open from nine to five."] * 2


@pytest.mark.parametrize("gone", [C, D])
def test_when_one_of_two_alike_goes_the_other_is_searched(gone: str) -> None:
    pages = site()
    world = read(pages)
    del pages[gone]
    world.run(world.begin())
    assert world.texts().count("It runs every hour.") == 1
    agree(world)


def test_a_broken_page_is_told_and_what_it_said_before_stays() -> None:
    pages = site()
    world = read(pages)
    pages[B] = "!"
    job = world.run(world.begin())
    assert [(line.url, line.code) for line in job.report] == [(B, "document_broken")]
    assert (job.state, job.progress.errors, job.progress.unchanged) == ("done", 1, 3)
    assert "Open from nine to five." in world.texts()
    pages[B] = "Hours\nOpen on Sundays."
    world.run(world.begin())
    assert "Open from nine to five." not in world.texts()
    agree(world)


def test_a_site_of_which_nothing_can_be_read_has_failed() -> None:
    world = Knowledge({A: "!"})
    assert world.run(world.begin()).state == "failed"


def test_a_service_that_is_away_is_nobodys_document() -> None:
    world = Knowledge(site())
    job = world.begin()
    world.embedder.error = SearchUnavailable("embeddings: connection refused")
    with pytest.raises(SearchUnavailable):
        world.run(job)
    world.embedder.error = None
    assert world.run(job).progress.read == 4
    agree(world)


def changed(pages: dict[str, str]) -> None:
    pages[A] = pages[A].replace("Part 3", "Part three").replace("many", "few")
    pages[B] = "Hours\nOpen from ten to four."
    del pages[C]
    pages["http://a.example/e"] = "Harbour\nBoats leave at noon."


def undisturbed() -> tuple[Any, Any, int]:
    """The whole state after both readings, the second's progress, and the writes of both."""
    pages = site()
    world = read(pages)
    changed(pages)
    job = world.run(world.begin())
    return world.state(), job.progress, world.clock.writes


def without_jobs(state: Any) -> Any:
    """Jobs have ids of their own."""
    records, *others = state
    return {key: replace(record, job="") for key, record in records.items()}, *others


def go_on(world: Knowledge, job: Any, dies_at: int) -> Any:
    """Run a job; when the world ends in the middle, go on with it in the next."""
    world.clock.dies_at = dies_at
    try:
        return world.run(job)
    except KilledError:
        return world.run(job)


def test_a_kill_before_any_single_write_leaves_no_trace_in_the_end() -> None:
    expected, progress, writes = undisturbed()
    assert writes > 60
    for dies_at in range(1, writes + 1):
        pages = site()
        world = Knowledge(pages)
        go_on(world, world.begin(), dies_at)
        changed(pages)
        job = go_on(world, world.begin(), dies_at)
        assert job.state == "done"
        assert without_jobs(world.state()) == without_jobs(expected), f"killed at write {dies_at}"
        assert job.progress.pages == progress.pages
        agree(world)


def test_an_interrupted_job_goes_on_where_it_was() -> None:
    world = Knowledge(site())
    job = world.run(world.begin(), stop_after=2)
    assert (job.state, job.progress.read) == ("waiting", 2)
    job = world.run(job)
    assert (job.state, job.progress.read, job.progress.unchanged) == ("done", 4, 0)
    assert len(world.embedder.texts) == len(world.texts())


@pytest.mark.parametrize("dies_at", range(1, 40))
def test_a_removed_source_leaves_nothing_wherever_the_worker_was_killed(dies_at: int) -> None:
    world = read(site())
    source = next(iter(world.sources.kept))
    world.clock.writes = 0
    assert go_on(world, world.library.remove(source), dies_at).state == "done"
    assert world.state() == ({}, {}, {}, {}, {})
    assert world.sources.kept == {}


@pytest.mark.parametrize("dies_at", [*range(1, 10)])
def test_a_rebuild_makes_the_same_again(dies_at: int) -> None:
    world = read(site())
    before = world.state()
    world.vectors.kept.clear()
    world.words.kept.clear()
    world.clock.writes = 0
    assert go_on(world, world.library.rebuild(), dies_at).state == "done"
    assert world.state() == before


@pytest.mark.parametrize("dies_at", [*range(1, 10)])
def test_a_rebuild_for_another_model_keeps_the_words_and_begins_anew_when_the_model_changes_again(dies_at: int) -> None:
    world = read(site())
    before = world.state()
    words = dict(world.words.kept)
    world.vectors.model = "second"
    job = world.library.rebuild()
    world.clock.writes, world.clock.dies_at = 0, dies_at
    with contextlib.suppress(KilledError):
        world.run(job)
    world.vectors.model = "third"
    world.clock.dies_at = None
    if world.jobs.kept[job.id].open:
        assert world.run(job).state == "done"
        assert world.vectors.fit("site") == "whole"
    assert world.words.kept == words
    assert world.state() == before


def test_a_site_of_which_nothing_can_be_read_any_more_keeps_what_was_read() -> None:
    pages = site()
    world = read(pages)
    before = world.state()
    pages.clear()
    job = world.run(world.begin())
    assert (job.state, job.progress.removed, len(job.report)) == ("failed", 0, 4)
    assert world.state() == before


def test_pages_that_went_before_the_first_that_is_there_are_removed() -> None:
    pages = site()
    world = read(pages)
    del pages[A], pages[B]
    job = world.run(world.begin())
    assert (job.state, job.progress.removed, job.progress.unchanged) == ("done", 2, 2)
    agree(world)
