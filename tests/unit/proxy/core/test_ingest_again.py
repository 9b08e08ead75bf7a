"""Pages whose server says that they are as they were, and the names of what was given."""

from __future__ import annotations

import pytest

from chatproxy.core.crawling import Scope
from chatproxy.core.ingest import Given
from tests.unit.proxy.core.test_ingest import agree, read, site


def test_another_language_of_the_source_holds_for_unchanged_pages_too() -> None:
    world = read(site())
    for _ in range(2):
        _, job = world.library.add_website("site", Scope(start=("http://a.example/",)), language="de")
        job = world.run(job)
        assert (job.state, job.progress.errors) == ("done", 0)
        assert {each.language for each in world.documents.all_chunks.values()} == {"de"}
        assert {entry.language for entry in world.words.kept.values()} == {"de"}
        agree(world)
    assert (job.progress.read, job.progress.unchanged) == (0, 4)


def test_a_page_whose_bytes_are_lost_comes_whole_the_next_time() -> None:
    world = read(site())
    world.originals.kept.clear()
    for read_pages in (0, 4):
        _, job = world.library.add_website("site", Scope(start=("http://a.example/",)), language="de")
        job = world.run(job)
        assert (job.progress.read, job.progress.unchanged) == (read_pages, 4 - read_pages)
    agree(world)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("Wie geht's? Preise.csv", "Wie geht's? Preise.csv"),
        ("http://a.example/prices.csv?year=2026", "prices.csv"),
        ("https://a.example/list?file=prices.csv", "list"),
    ],
)
def test_only_an_address_ends_at_its_query(url: str, name: str) -> None:
    assert Given(url, "", "", b"").name == name
