"""Which model is meant, and what the catalogue promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.lib import models, paths
from scripts.lib.failure import Failure

FORMATS = ("chatml", "metharme")


def test_the_shipped_catalogue_is_complete() -> None:
    catalog = models.load_catalog()
    assert "smollm2-135m-instruct" in catalog
    for model in catalog.values():
        assert model.title and model.licence and model.context > 0 and model.size > 0
        assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
        assert model.source and re.fullmatch(r"[0-9a-f]{64}", model.source.sha256)
        assert (paths.ROOT / "proxy" / "chatproxy" / "formats" / f"{model.format}.toml").is_file()


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


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "[x]\ntitle = 'no source'",
        "[x]\n[x.source]\nkind = 'wheel'",
        "[x]\ntitle='t'\nfile='../f'\nsize=1\nformat='chatml'\n"
        "[x.source]\nkind='wheel'\npackage='p'\nversion='1'\nmember='m'\nsha256='0'",
        "[x]\ntitle='t'\nfile='f'\nsize=1\nformat='chatml'\n"
        "[x.source]\nkind='pigeon'\npackage='p'\nversion='1'\nmember='m'\nsha256='0'",
    ],
)
def test_a_broken_catalogue_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(Failure) as raised:
        models.load_catalog(_catalog(tmp_path, text))
    assert raised.value.id == "catalog.invalid"
