"""make models: what fits a machine, what is smaller, how fast, and which is best."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.lib import bandwidth, models, offers, shapes
from scripts.lib.host import GB, Gpu, Host
from scripts.lib.offers import Machine, Offer
from scripts.lib.settings import Settings
from tests.doubles.gguf import write_gguf

CATALOG = models.load_catalog()
FAST, SLOW = 40_000_000_000, 8_000_000_000

Wanted = Callable[..., Settings]


def reckoned(
    wanted: Settings, left: int, *, speed: int = FAST, cards: tuple[Gpu, ...] = (), folder: Path = Path("/nowhere")
) -> dict[str, Offer]:
    files = {path.name: path.stat().st_size for path in folder.glob("*")}
    host = Host(cores=8, model_files=files)
    found = offers.reckon(wanted, host, Machine(left, speed, cards), CATALOG, "llamacpp", folder)
    return {f"{offer.model.name}:{offer.model.quantisation}": offer for offer in found}


def best(found: dict[str, Offer]) -> str:
    (name,) = [name for name, offer in found.items() if offer.best]
    return name


def test_a_machine_of_8_gb_holds_seven_billion_weights_and_not_thirteen(wanted: Wanted) -> None:
    found = reckoned(wanted(), 6 * GB)
    assert found["mistral-7b-instruct-v0.3:Q4_K_M"].fits == offers.FITS
    assert found["llama-2-13b-chat:Q4_K_M"].fits == offers.TOO_LARGE


def test_what_would_fit_with_a_smaller_context_says_with_which(wanted: Wanted) -> None:
    offer = reckoned(wanted(CONTEXT_SIZE="32768"), 6 * GB)["llama-3-8b-instruct:Q4_K_M"]
    assert (offer.fits, offer.context) == (offers.SMALLER, 8192)


def test_speed_is_what_memory_and_cores_allow(wanted: Wanted) -> None:
    fast, slow = (reckoned(wanted(), 40 * GB, speed=speed) for speed in (FAST, SLOW))
    mistral = "mistral-7b-instruct-v0.3:Q4_K_M"
    assert fast[mistral].tokens_s == pytest.approx(FAST / CATALOG["mistral-7b-instruct-v0.3"].size)
    # Two of eight experts: as fast as a model of a third of its size.
    mixtral, llama = slow["mixtral-8x7b-instruct:Q4_K_M"], slow["llama-2-13b-chat:Q4_K_M"]
    assert mixtral.tokens_s and llama.tokens_s and mixtral.tokens_s > llama.tokens_s


@pytest.mark.parametrize(
    ("left", "speed", "expected"),
    [
        (60 * GB, FAST, "mixtral-8x7b-instruct"),
        (12 * GB, FAST, "gemma-2-9b-it"),
        (4 * GB, FAST, "qwen3-4b-instruct-2507"),
        (60 * GB, SLOW, "smollm2-1.7b-instruct"),
        (GB, SLOW, "llama-3.2-1b-instruct"),
    ],
)
def test_the_best_is_the_largest_advised_one_that_is_fast_enough(
    wanted: Wanted, left: int, speed: int, expected: str
) -> None:
    found = reckoned(wanted(), left, speed=speed)
    assert best(found).partition(":")[0] == expected
    assert "as people read" in offers.why(found[best(found)], Machine(left, speed))


def test_where_nothing_is_fast_enough_the_fastest_is_named_and_that_said(wanted: Wanted) -> None:
    found = reckoned(wanted(), GB, speed=100_000_000)
    assert best(found) == "smollm2-135m-instruct:Q4_1"
    assert "none of those advised" in offers.why(found[best(found)], Machine(GB, 100_000_000))


def test_on_cards_layers_are_counted_and_speed_is_not_guessed(wanted: Wanted) -> None:
    card = Gpu(0, "nvidia", "Card", 12 * GB, 12 * GB)
    found = reckoned(wanted(), 8 * GB, cards=(card,))
    whole, part = found["mistral-7b-instruct-v0.3:Q4_K_M"], found["mixtral-8x7b-instruct:Q4_K_M"]
    assert (whole.fits, whole.layers, whole.tokens_s) == (offers.FITS, 33, None)
    assert part.fits == offers.TOO_LARGE and 0 < part.layers < part.all_layers == 33
    assert best(found).startswith("gemma-2-9b-it")


def test_a_file_in_models_is_listed_by_its_own_shape(wanted: Wanted, tmp_path: Path) -> None:
    write_gguf(tmp_path / "mine.gguf")
    offer = reckoned(wanted(), 8 * GB, folder=tmp_path)["mine:"]
    assert offer.here and offer.model.shape == shapes.shape(tmp_path / "mine.gguf")


def test_a_file_that_is_no_whole_model_is_told_so_and_promises_nothing(wanted: Wanted, tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf")
    (tmp_path / "half.gguf").write_bytes(whole.read_bytes()[:-1])
    (tmp_path / "text.gguf").write_text("I am a text\n")
    known = CATALOG["smollm2-135m-instruct"]
    (tmp_path / known.file).write_text("<html>")
    found = reckoned(wanted(), 8 * GB, folder=tmp_path)
    for name in ("half:", "text:", f"{known.name}:{known.quantisation}"):
        assert (found[name].fits, found[name].tokens_s, found[name].usable) == (offers.BROKEN, None, False)
    assert found["whole:"].fits == offers.FITS


def test_another_quantisation_is_listed_once_it_is_here(wanted: Wanted, tmp_path: Path) -> None:
    assert "mistral-7b-instruct-v0.3:Q5_K_M" not in reckoned(wanted(), 8 * GB)
    write_gguf(tmp_path / "Mistral-7B-Instruct-v0.3-Q5_K_M.gguf")
    assert reckoned(wanted(), 8 * GB, folder=tmp_path)["mistral-7b-instruct-v0.3:Q5_K_M"].here


def test_models_for_retrieval_are_folders(tmp_path: Path) -> None:
    (tmp_path / "bge-small-en-v1.5").mkdir()
    here = {model.name: is_here for model, is_here in offers.for_retrieval(CATALOG, tmp_path)}
    assert here["bge-small-en-v1.5"] and not here["bge-reranker-base"]
    assert "mistral-7b-instruct-v0.3" not in here


def test_a_file_tells_its_shape_and_a_half_one_does_not(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", values={"llama.attention.head_count_kv": [8] * 16 + [4] * 16})
    told = shapes.shape(path)
    assert told is not None and told.kv_heads == (8,) * 16 + (4,) * 16 and told.vocabulary == 3
    (tmp_path / "old.bin").write_bytes(b"tjgg")
    path.write_bytes(path.read_bytes()[:-1])
    assert shapes.shape(path) is None and shapes.shape(tmp_path / "old.bin") is None
    assert shapes.shape(tmp_path / "none.gguf") is None
    os.mkfifo(tmp_path / "pipe.gguf")
    assert shapes.shape(tmp_path / "pipe.gguf") is None


def test_the_file_that_model_means_is_read(tmp_path: Path) -> None:
    write_gguf(tmp_path / "mine.gguf")
    assert shapes.meant("models/mine.gguf", tmp_path).keys() == {"mine.gguf"}
    assert shapes.meant("other.gguf", tmp_path) == {}
    starter = CATALOG["smollm2-135m-instruct"]
    told = shapes.meant("mine.gguf", tmp_path)["mine.gguf"]
    host = Host(model_files={starter.file: 5}, model_shapes={starter.file: told})
    assert shapes.own(starter, host) == replace(starter, shape=told, size=5)
    assert shapes.own(starter, Host()) == starter


def test_the_memory_s_speed_is_measured_once_and_remembered(tmp_path: Path) -> None:
    file = tmp_path / "state" / "bandwidth.json"
    first = bandwidth.known("a machine", 1, file=file)
    assert first > 100_000_000
    assert bandwidth.known("a machine", 1, file=file) == first
    file.write_text('{"a machine, 1 threads": 7}')
    assert bandwidth.known("a machine", 1, file=file) == 7
    assert bandwidth.known("a machine", 1, anew=True, file=file) > 7
    file.write_text("not JSON")
    assert bandwidth.known("a machine", 1, file=file) > 7
