"""What is put into an image's folder is the same bytes for the same source, however it was handed over."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from scripts.lib import stage
from scripts.lib.failure import Failure


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "koboldcpp-1.115"
    (folder / "kcpp_adapters").mkdir(parents=True)
    (folder / "koboldcpp.py").write_text("print('kobold')\n")
    (folder / "Makefile").write_text("default:\n")
    (folder / "kcpp_adapters" / "A.json").write_text("{}")
    (folder / "make_it.sh").write_text("#!/bin/sh\n")
    (folder / "make_it.sh").chmod(0o700)
    (folder / "link").symlink_to("Makefile")
    for useless in ("a.o", "koboldcpp_default.so", "model.gguf"):
        (folder / useless).write_text("big")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    return folder


def _names(tar: Path) -> list[str]:
    with tarfile.open(tar) as archive:
        return archive.getnames()


def test_the_source_lies_at_the_top_without_what_a_build_left(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "source.tar"
    assert stage.stage_koboldcpp(str(source), target) is True
    assert _names(target) == [
        "Makefile", "kcpp_adapters", "kcpp_adapters/A.json", "koboldcpp.py", "link", "make_it.sh",
    ]  # fmt: skip
    assert [path.name for path in target.parent.iterdir()] == ["source.tar"]


def test_times_owners_and_umask_do_not_change_the_bytes(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "source.tar"
    stage.stage_koboldcpp(str(source), target)
    before = target.read_bytes()
    for path in source.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (source / "Makefile").chmod(0o600)
    assert stage.stage_koboldcpp(str(source), target) is False
    assert target.read_bytes() == before


@pytest.mark.parametrize(("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tar.xz", "w:xz")])
@pytest.mark.parametrize("top", ["", "koboldcpp-1.115"])
def test_a_tarball_gives_the_bytes_of_its_folder(
    source: Path, tmp_path: Path, suffix: str, mode: str, top: str
) -> None:
    folder_tar, archive_tar = tmp_path / "a.tar", tmp_path / "b.tar"
    packed = tmp_path / f"packed{suffix}"
    with tarfile.open(packed, mode) as archive:  # type: ignore[call-overload]
        archive.add(source, arcname=top or ".")
    assert stage.kind_of(str(packed)) == "source"
    stage.stage_koboldcpp(str(source), folder_tar)
    stage.stage_koboldcpp(str(packed), archive_tar)
    assert folder_tar.read_bytes() == archive_tar.read_bytes()


def test_a_change_in_the_source_is_staged(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "source.tar"
    stage.stage_koboldcpp(str(source), target)
    (source / "koboldcpp.py").write_text("print('other')\n")
    assert stage.stage_koboldcpp(str(source), target) is True


def test_what_the_setting_points_at_is_told_apart(source: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    assert stage.kind_of("") == ""
    assert stage.kind_of(str(source)) == "source"
    assert stage.kind_of(str(tmp_path / "none")) == "missing"
    assert stage.kind_of(str(tmp_path)) == "other"
    assert stage.kind_of(str(tmp_path / "text")) == "other"


def test_a_source_that_cannot_be_read_leaves_the_staged_one(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "source.tar"
    stage.stage_koboldcpp(str(source), target)
    before = target.read_bytes()
    (tmp_path / "broken.tar").write_text("no archive")
    with pytest.raises(Failure) as raised:
        stage.stage_koboldcpp(str(tmp_path / "broken.tar"), target)
    assert raised.value.id == "koboldcpp.source_invalid"
    assert target.read_bytes() == before


def test_the_torch_wheel_is_copied_and_older_ones_go(tmp_path: Path) -> None:
    folder, target = tmp_path / "wheels", tmp_path / "staged"
    folder.mkdir()
    target.mkdir()
    wheel = folder / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
    wheel.write_bytes(b"wheel")
    (target / "torch-2.0.0+cpu-cp311-cp311-linux_x86_64.whl").write_bytes(b"old")
    (target / ".gitkeep").touch()
    assert stage.stage_torch([wheel], target) is True
    assert {path.name for path in target.iterdir()} == {".gitkeep", wheel.name}
    assert (target / wheel.name).stat().st_mtime_ns == wheel.stat().st_mtime_ns
    assert stage.stage_torch([wheel], target) is False
    assert stage.stage_torch([], target) is True
    assert {path.name for path in target.iterdir()} == {".gitkeep"}
