"""Which model is meant, and what the catalogue promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.lib import models, paths
from scripts.lib.failure import Failure
from scripts.lib.reckoning import parameters

FORMATS = ("chatml", "metharme")


CATALOG = models.load_catalog()
FORMATS_THERE = {path.stem for path in (paths.ROOT / "proxy" / "chatproxy" / "formats").glob("*.toml")}
# Bits of one weight, with its share of the scales, from the smallest quantisation that is usable to the largest.
BITS = {"Q3": (3, 5), "Q4": (4.3, 8.1), "Q5": (5, 7), "Q8": (8.4, 8.8)}


@pytest.mark.parametrize("model", CATALOG.values(), ids=CATALOG)
def test_every_entry_of_the_catalogue_is_complete(model: models.Model) -> None:
    assert model.title and model.licence and model.good_for and model.context > 0 and model.size > 0
    assert isinstance(model.source, models.WheelSource | models.HubSource)
    if isinstance(model.source, models.HubSource):
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.source.repository)
        assert re.fullmatch(r"main|[0-9a-f]{40}", model.source.revision)
    for weights in [*model.files.values(), *([model.projector] if model.projector else []), *model.adapters]:
        assert re.fullmatch(r"[0-9a-f]{64}|", weights.sha256)
    if model.use == models.CHAT:
        assert model.format in FORMATS_THERE | {models.AUTO}
        # Only a GGUF file holds the template that "auto" asks for.
        assert model.format != models.AUTO or model.file.endswith(".gguf")


CHATTERS = {name: model for name, model in CATALOG.items() if model.use == models.CHAT}


@pytest.mark.parametrize("model", CHATTERS.values(), ids=CHATTERS)
def test_a_shape_in_the_catalogue_agrees_with_the_size_of_its_files(model: models.Model) -> None:
    """A wrong number of layers, heads or words would show as bits of a weight that no quantisation has."""
    assert model.shape is not None
    words = model.shape.vocabulary * model.shape.width
    for label, weights in model.files.items():
        least, most = BITS[label[:2]]
        # Many models have another matrix for words going out.
        fewest = parameters(model.shape)
        assert least <= 8 * weights.size / fewest and 8 * weights.size / (fewest + words) <= most, label


def test_no_file_belongs_to_two_entries() -> None:
    files = [weights.file for model in CATALOG.values() for weights in model.files.values()]
    files += [model.projector.file for model in CATALOG.values() if model.projector]
    files += [model.file for model in CATALOG.values() if model.use != models.CHAT]
    assert len(files) == len(set(files))


def test_a_source_that_has_not_told_a_checksum_yet_has_told_no_size_either() -> None:
    assert CATALOG["llama-2-13b-chat"].size_is_about
    assert not CATALOG["smollm2-135m-instruct"].size_is_about


@pytest.mark.parametrize("wanted", ["mistral-7b-instruct-v0.3:Q5_K_M", "mistral-7b-instruct-v0.3:q5_k_m"])
def test_a_quantisation_is_meant_behind_the_name(wanted: str) -> None:
    model, findings = models.choose(wanted, "auto", CATALOG, {}, FORMATS_THERE)
    assert model is not None and model.quantisation == "Q5_K_M" and findings == []
    assert model.file == "Mistral-7B-Instruct-v0.3-Q5_K_M.gguf" and model.size == 5_136_175_328


def test_a_quantisation_that_is_not_there_is_told_with_those_that_are() -> None:
    model, findings = models.choose("mistral-7b-instruct-v0.3:Q2_K", "auto", CATALOG, {}, FORMATS_THERE)
    assert model is None and [finding.id for finding in findings] == ["model.no_quantisation"]
    assert "Q4_K_M" in findings[0].hint


def test_a_model_for_retrieval_is_sent_to_its_own_setting() -> None:
    model, findings = models.choose("ms-marco-minilm-l6-v2", "auto", CATALOG, {}, FORMATS_THERE)
    assert model is None and [finding.id for finding in findings] == ["model.other_use"]
    assert "RERANKER_MODEL=ms-marco-MiniLM-L6-v2" in findings[0].hint


@pytest.mark.parametrize("wanted", ["smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf"])
def test_a_catalogue_model_is_meant_by_its_name_or_its_file(wanted: str) -> None:
    model, findings = models.choose(wanted, "auto", models.load_catalog(), {}, FORMATS)
    assert model is not None and model.name == "smollm2-135m-instruct" and model.format == "chatml"
    assert findings == []


def test_an_explicit_format_wins() -> None:
    model, _ = models.choose("smollm2-135m-instruct", "metharme", models.load_catalog(), {}, FORMATS)
    assert model is not None and model.format == "metharme"


@pytest.mark.parametrize("wanted", ["mine.gguf", "models/mine.gguf"])
def test_a_dropped_file_is_served_once_its_format_is_told(wanted: str) -> None:
    model, findings = models.choose(wanted, "metharme", {}, {"mine.gguf": 5}, FORMATS)
    assert findings == []
    assert model == models.Model("mine", "mine", "mine.gguf", 5, "metharme")


def test_a_dropped_gguf_file_tells_its_format_itself() -> None:
    model, findings = models.choose("mine.gguf", "auto", {}, {"mine.gguf": 5}, FORMATS)
    assert findings == []
    assert model == models.Model("mine", "mine", "mine.gguf", 5, "auto")


def test_a_dropped_file_of_an_older_kind_tells_nothing() -> None:
    model, findings = models.choose("mine.bin", "auto", {}, {"mine.bin": 5}, FORMATS)
    assert model is None
    assert [finding.id for finding in findings] == ["model.format_unknown"]


def _catalog(folder: Path, text: str) -> Path:
    file = folder / "catalog.toml"
    file.write_text(text)
    return file


GOOD = """
[x]
title = 't'
format = 'chatml'
default = 'Q4_0'
[x.source]
kind = 'hub'
repository = 'a/b'
[x.files.Q4_0]
file = 'f'
size = 1
[x.shape]
layers = 1
width = 8
heads = 1
feed_forward = 8
vocabulary = 8
"""


def test_a_plain_entry_is_read(tmp_path: Path) -> None:
    model = models.load_catalog(_catalog(tmp_path, GOOD))["x"]
    assert (model.file, model.size, model.quantisation) == ("f", 1, "Q4_0")


@pytest.mark.parametrize(
    ("good", "bad", "named"),
    [
        ("[x]", "[x", ""),
        ("[x.source]", "[x.spring]", "[x]: 'source'"),
        ("kind = 'hub'", "kind = 'pigeon'", "pigeon"),
        ("repository = 'a/b'", "repository = 'a/b'\nhost = 'c'", "host"),
        ("default = 'Q4_0'", "default = 'Q5_0'", "[x] default: 'Q5_0'"),
        ("file = 'f'", "file = '../f'", "[x.files]: '../f'"),
        ("file = 'f'", "file = '..'", "[x.files]: '..'"),
        ("file = 'f'", "file = ''", "[x.files]: ''"),
        ("file = 'f'", "file = 'f'\nsha256 = 'ABC'", "[x.files]: sha256 'ABC' of f"),
        ("size = 1", "size = true", "[x.files]: size is True"),
        ("title = 't'", "title = 5", "[x]: title is 5 and must be text"),
        ("title = 't'", "title = 't'\ncontext = '4096'", "[x]: context is '4096' and must be a whole number"),
        ("title = 't'", "title = 't'\nadvised = 'no'", "[x]: advised is 'no' and must be true or false"),
        ("repository = 'a/b'", "repository = 5", "[x]: repository is 5"),
        ("heads = 1", "heads = 0", "[x.shape]: no model has 1 layers of 0 heads"),
        ("heads = 1", "heads = 1\nkv_heads = [1, 1]", "[x.shape]: kv_heads are 2"),
        ("x", "'x:y'", "no slash or colon"),
        ("size = 1", "size = -1", "[x.files]: size -1"),
        ("layers = 1", "layers = 'many'", "[x.shape]: 'layers'"),
        ("title = 't'", "titel = 't'", "titel"),
        ("title = 't'", "title = 't'\nuse = 'poetry'", "[x] use: poetry"),
    ],
)
def test_a_broken_catalogue_is_named(tmp_path: Path, good: str, bad: str, named: str) -> None:
    with pytest.raises(Failure) as raised:
        models.load_catalog(_catalog(tmp_path, GOOD.replace(good, bad)))
    assert raised.value.id == "catalog.invalid" and named in raised.value.fact
