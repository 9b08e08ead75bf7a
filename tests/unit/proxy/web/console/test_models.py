"""The page of models: what is loaded, what there is, what fits, and the command that switches."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import pytest

from chatproxy.core.fitting import Shape
from chatproxy.core.models import MB, ModelFacts, ModelFile, Offer, engine_need
from chatproxy.settings import Settings
from chatproxy.web.console.shown import size
from tests.unit.proxy.fakes import World
from tests.unit.proxy.web.console.browsing import Browser, admitted

# Keys and values of 11,264 bytes a token.
SHAPE = Shape("llama", 22, 256, 4, (1,) * 22, 128, 128, 1024, 32_000)
SMALL = Offer("small", "Small One", "small.gguf", 100 * MB, "chatml", 8192, "Apache-2.0", "Trying things out.")
LARGE = Offer("large", "Large One", "large.gguf", 40_000 * MB, "metharme", 4096, "MIT")


@pytest.fixture
def world() -> World:
    world = World(settings=Settings(trusted_hops=0, model="small", model_file=Path("/models/small.gguf")))
    world.models.offers = [LARGE, SMALL]
    facts = ModelFacts("llama", 2048, "{{ messages }}", title="Own Model", shape=SHAPE)
    world.models.there = [
        ModelFile("own model.gguf", 100 * MB, facts),
        ModelFile("small.gguf", 100 * MB, ModelFacts("llama", 8192, shape=SHAPE)),
    ]
    return world


@pytest.fixture
def text(world: World) -> str:
    return html.unescape(admitted(world).get("/models").text)


def test_each_model_has_its_facts_and_its_command(text: str) -> None:
    for told in ("Small One", "Apache-2.0", "Trying things out.", "8,192", "not downloaded", "Own Model"):
        assert told in text
    assert "make model NAME=large" in text and "make model NAME='own model.gguf'" in text
    assert "make model NAME=small<" not in text and "it is loaded" in text
    assert text.index("Small One") < text.index("Own Model") < text.index("Large One")


def test_what_does_not_fit_is_told_apart(text: str) -> None:
    assert text.count("does not fit") == 1
    row = text[text.index("Large One") :]
    assert "about" in row and "does not fit" in row[: row.index("</tr>")]


def test_memory_comes_from_the_files_own_shape_where_it_tells(text: str) -> None:
    # 100 MB of weights, 44 MB for 4096 tokens of 11,264 bytes; the rest is the engine's own.
    need = engine_need(100 * MB, SHAPE, 4096)
    assert 180 * MB < need < 200 * MB
    assert size(need) in text


def test_a_published_shape_counts_until_the_file_is_here(world: World) -> None:
    world.models.offers = [replace(LARGE, size=100 * MB, shape=SHAPE, about=True)]
    text = html.unescape(admitted(world).get("/models").text)
    row = text[text.index("Large One") :]
    assert f"<td>{size(engine_need(100 * MB, SHAPE, 4096))}" in row and f"about {size(100 * MB)}" in row


def test_another_quantisation_that_is_here_is_a_model_of_its_own(world: World) -> None:
    files = {"Q4_0": ("small.gguf", 100 * MB), "Q8_0": ("small-8.gguf", 190 * MB)}
    world.models.offers = [replace(SMALL, quantisation="Q4_0", files=files)]
    world.models.there.append(ModelFile("small-8.gguf", 190 * MB))
    text = html.unescape(admitted(world).get("/models").text)
    assert "make model NAME=small:Q8_0" in text and "also as Q8_0" in text


def test_models_for_retrieval_are_told_with_their_setting(world: World) -> None:
    folder = Offer("mini", "Mini", "Mini-L6", 90 * MB, "", 512, "MIT", "English.", use="reranker", there=True)
    world.models.offers.append(folder)
    text = html.unescape(admitted(world).get("/models").text)
    assert "RERANKER_MODEL=Mini-L6" in text and "in models/" in text and "make model NAME=mini" not in text


def test_a_catalogue_that_cannot_be_read_does_not_hide_the_files(world: World) -> None:
    world.models.offers = []
    text = html.unescape(admitted(world).get("/models").text)
    assert "The catalogue cannot be read: catalog.toml: there is none" in text and "Own Model" in text


def test_files_that_are_being_read_are_asked_for_again(world: World) -> None:
    world.models.there.append(ModelFile("new.gguf", 5, read=False))
    assert "data-fresh" in admitted(world).get("/models").text
    world.models.there[-1] = ModelFile("new.gguf", 5, problem="new.gguf cannot be read: it is damaged")
    shown = admitted(world).get("/models").text
    assert "data-fresh" not in shown and "it is damaged" in shown


def test_a_context_that_the_model_was_not_trained_for_is_warned_of(world: World) -> None:
    wide = World(settings=Settings(trusted_hops=0, context_size=16_384, model_file=Path("/models/small.gguf")))
    wide.models.offers, wide.models.there = world.models.offers, world.models.there
    assert "but this model was trained for 8,192 tokens" in admitted(wide).get("/models").text


def test_without_figures_of_the_machine_nothing_is_judged(world: World) -> None:
    world.models.bytes = None
    text = admitted(world).get("/models").text
    assert "fits" not in text and "does not fit" not in text


def test_an_engine_elsewhere_has_no_file_here(world: World) -> None:
    browser: Browser = admitted(World())
    assert "by an engine elsewhere" in browser.get("/models").text
