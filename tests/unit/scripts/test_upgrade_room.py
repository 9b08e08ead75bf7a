"""What an upgrade lays out beside is what it needs, it fits before it is copied, and nothing large moves at the end."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from scripts.lib import host_facts, upgrade_beside, upgrade_room, upgrading
from scripts.lib.failure import Failure
from scripts.lib.upgrade_git import Repository, Version
from tests.unit.scripts.upgrade_checkout import Docker, Tags, commit, contents, git

pytest_plugins = ["tests.unit.scripts.upgrade_checkout"]
MB = 2**20


def begun(root: Path, home: Path) -> tuple[Repository, Version]:
    commit(home, "New", {"sub/b.txt": "new\n", "images/embeddings/wheels/.gitkeep": ""})
    repository = Repository(root)
    version = repository.fetch("")
    upgrading.begin(repository, repository.current().commit, version.commit, "chatbot")
    upgrade_beside.check_out(repository, version)
    return repository, version


def of_size(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


@pytest.fixture
def another_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """models/ lies on one."""

    def link(source: Path, target: Path, *, follow_symlinks: bool = True) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("place", ["data/of/ours/backups", "sub/backups", "models/backups"])
def test_backups_are_not_copied_however_deep_they_lie(root: Path, home: Path, tags: Tags, place: str) -> None:
    of_size(root / place / "chatbot-1.tar", 10)
    of_size(root / "data/of/mine.yaml", 10)
    (root / "data").chmod(0o700)
    repository, _ = begun(root, home)
    # As BACKUP_DIR may name it.
    upgrade_beside.lay_out(repository, root / "sub" / ".." / place)
    assert not (upgrading.NEXT / place).exists()
    assert (upgrading.NEXT / "data/of/mine.yaml").read_bytes() == (root / "data/of/mine.yaml").read_bytes()
    assert (upgrading.NEXT / "data").stat().st_mode & 0o777 == 0o700


def test_what_does_not_fit_is_told_before_anything_is_copied(
    root: Path, home: Path, tags: Tags, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_size(root / "large/file", 3 * MB)
    repository, _ = begun(root, home)

    def copied(*_: object) -> None:
        raise AssertionError("it was begun to copy")

    monkeypatch.setattr(upgrade_beside, "_carry", copied)
    monkeypatch.setattr(host_facts, "free_below", lambda folder: upgrade_room._SPARE + 2 * MB)
    before = contents(root)
    with pytest.raises(Failure) as refused:
        upgrade_beside.lay_out(repository, root / "backups")
    assert refused.value.id == "disk.too_small"
    assert f"{root}/large, 3.0 MB" in refused.value.hint
    assert contents(root) == before


def test_weights_on_another_disk_are_counted(
    root: Path, home: Path, tags: Tags, another_disk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_size(root / "models/large.gguf", 3 * MB)
    repository, _ = begun(root, home)
    with monkeypatch.context() as patch:
        patch.setattr(host_facts, "free_below", lambda folder: upgrade_room._SPARE + 2 * MB)
        with pytest.raises(Failure) as refused:
            upgrade_beside.lay_out(repository, root / "backups")
        assert refused.value.id == "disk.too_small"
        assert "large.gguf" in refused.value.hint
        assert not (upgrading.NEXT / "models/large.gguf").exists()
    upgrade_beside.lay_out(repository, root / "backups")
    assert (upgrading.NEXT / "models/large.gguf").read_bytes() == (root / "models/large.gguf").read_bytes()


def test_second_names_take_no_room(root: Path, home: Path, tags: Tags, monkeypatch: pytest.MonkeyPatch) -> None:
    of_size(root / "models/large.gguf", 3 * MB)
    repository, _ = begun(root, home)
    monkeypatch.setattr(host_facts, "free_below", lambda folder: upgrade_room._SPARE + 2 * MB)
    upgrade_beside.lay_out(repository, root / "backups")
    assert (upgrading.NEXT / "models/large.gguf").samefile(root / "models/large.gguf")


def test_new_weights_are_there_before_anything_stops(
    root: Path, home: Path, tags: Tags, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, version = begun(root, home)
    upgrade_beside.lay_out(repository, root / "backups")
    of_size(upgrading.NEXT / "models/folder/new.gguf", 10)
    of_size(upgrading.NEXT / "images/embeddings/wheels/torch.whl", 10)
    wheel = (upgrading.NEXT / "images/embeddings/wheels/torch.whl").stat().st_ino
    upgrade_beside.bring_weights()
    assert (root / "models/folder/new.gguf").samefile(upgrading.NEXT / "models/folder/new.gguf")
    assert (root / "models/weights.gguf").read_text() == "GGUF"
    copied: list[str] = []
    copy2 = shutil.copy2

    def copy(source: Path, target: Path, **more: bool) -> object:
        copied.append(source.relative_to(upgrading.NEXT).as_posix())
        return copy2(source, target, **more)

    monkeypatch.setattr(shutil, "copy2", copy)
    upgrade_beside.take(repository, version, 2)
    assert set(copied) == {"a.txt", "models/.records.json", ".appliance/stamps/images.json"}
    assert (root / "images/embeddings/wheels/torch.whl").stat().st_ino == wheel


def test_new_weights_for_another_disk_are_whole_or_not_there(
    root: Path, home: Path, tags: Tags, another_disk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, _ = begun(root, home)
    upgrade_beside.lay_out(repository, root / "backups")
    of_size(upgrading.NEXT / "models/new.gguf", 3 * MB)
    before = contents(root)
    with monkeypatch.context() as patch:
        patch.setattr(host_facts, "free_below", lambda folder: upgrade_room._SPARE + 2 * MB)
        with pytest.raises(Failure) as refused:
            upgrade_beside.bring_weights()
        assert refused.value.id == "disk.too_small"
    with monkeypatch.context() as patch:

        def half(source: Path, target: Path, **_: bool) -> None:
            target.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(shutil, "copy2", half)
        with pytest.raises(Failure) as refused:
            upgrade_beside.bring_weights()
        assert refused.value.id == "disk.full"
    assert contents(root) == before
    # What a kill has left is nobody's weights.
    (root / "models/.other.gguf.new").write_text("half")
    upgrade_beside.bring_weights()
    assert (root / "models/new.gguf").read_bytes() == (upgrading.NEXT / "models/new.gguf").read_bytes()
    upgrading.discard()
    repository, _ = begun(root, home)
    upgrade_beside.lay_out(repository, root / "backups")
    assert not (upgrading.NEXT / "models/.other.gguf.new").exists()


def test_names_that_are_no_text_go_over_and_back(root: Path, home: Path, tags: Tags, docker: Docker) -> None:
    own, folder, edited = (os.fsdecode(name) for name in (b"t\xfcr.yaml", b"gr\xf6\xdfe/x", b"sub/\xe4.txt"))
    of_size(root / own, 10)
    of_size(root / folder, 10)
    (root / edited).write_text("theirs\n")
    git(root, "add", edited)
    before = {os.fsencode(name): text for name, text in contents(root).items()}
    repository, version = begun(root, home)
    upgrade_beside.lay_out(repository, root / "backups")
    for name in (own, folder, edited):
        assert (upgrading.NEXT / name).read_bytes() == (root / name).read_bytes()
    journal = upgrading.read()
    assert journal is not None
    journal = journal.at(upgrading.STOPPED, data="chatbot.2").at(upgrading.EXCHANGED)
    upgrade_beside.take(repository, version, 2)
    assert (root / edited).read_text() == "theirs\n"
    upgrading.put_back(journal)
    assert {os.fsencode(name): text for name, text in contents(root).items()} == before


def test_names_that_are_no_text_are_in_the_way_by_their_own(checkout: Path, home: Path) -> None:
    name = os.fsdecode(b"t\xfcr.txt")
    commit(home, "New", {name: ""})
    (checkout / name).write_text("mine")
    repository = Repository(checkout)
    assert repository.in_the_way(repository.fetch("")) == [name]
