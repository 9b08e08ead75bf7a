"""UNDO leads back with what the appliance of then ran from, or says what is in the way before it stops anything."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from scripts.lib import backup_manifest, cli, image_tags, restoring
from scripts.lib.failure import Failure
from tests.unit.scripts.restore_checkout import SETTINGS, Docker, archived
from tests.unit.scripts.test_restoring_exchange import domain, restored, set_up

pytest_plugins = ["tests.unit.scripts.restore_checkout"]


def test_going_back_to_what_another_version_ran_is_refused_with_its_commit(
    restore: ModuleType,
    tmp_path: Path,
    root: Path,
    docker: Docker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its settings lack what this one reads, and in its images the data would be this one's for good."""
    then, here = "1" * 40, "2" * 40
    set_up(root, docker)
    (root / ".appliance/stamps/version").write_text(then)
    monkeypatch.setattr(backup_manifest, "commit", lambda: then)
    restored(tmp_path, docker, 2)
    monkeypatch.setattr(backup_manifest, "commit", lambda: here)
    monkeypatch.delenv("ACCEPT", raising=False)
    assert restore._undo() == 1
    told = capsys.readouterr().err
    assert f"restore.other_version: what was before the last restore ran with version {then[:10]}" in told
    assert f"git checkout {then[:10]}, and there `make restore UNDO=1`" in told
    assert (restore.did(), domain(root)) == ([], "chat.example.org")
    # There it goes, and the restored data is known to be the other's.
    monkeypatch.setattr(backup_manifest, "commit", lambda: then)
    assert restore._undo() == 0
    assert restore.did() == ["stop", "images []", "start", "ready", "schedule"]
    assert domain(root) == "old"
    assert (root / ".appliance/stamps/version").read_text() == then
    assert restoring.version_before() == then


def test_it_can_be_taken_over_into_this_version_by_make_up(
    restore: ModuleType,
    tmp_path: Path,
    root: Path,
    docker: Docker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up(root, docker)
    # Nobody noted which it was.
    (root / ".appliance/stamps/version").unlink()
    restored(tmp_path, docker, 2)
    assert restore._undo() == 1
    told = capsys.readouterr().err
    assert "that was not noted" in told
    assert "-> take it over into this version for good: ACCEPT=restore.other_version, then `make up`" in told
    monkeypatch.setenv("ACCEPT", "restore.other_version")
    assert restore._undo() == 0
    assert restore.did() == ["stop", "schedule"]
    assert domain(root) == "old"
    assert "stopped: `make up` brings it to this version" in capsys.readouterr().out


def test_going_back_waits_for_images_that_are_gone(
    restore: ModuleType, tmp_path: Path, root: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(root, docker)
    restored(tmp_path, docker, 2)

    def gone(_: image_tags.Tags) -> int:
        raise Failure("image.former_gone", "it is gone", "`make up`")

    monkeypatch.setattr(image_tags, "put_back", gone)
    with pytest.raises(Failure) as failed:
        restore._undo()
    assert failed.value.id == "image.former_gone"
    assert (restore.did(), domain(root)) == (["stop"], "old")


def test_the_sources_of_then_come_back_with_their_data(
    restore: ModuleType, tmp_path: Path, root: Path, docker: Docker
) -> None:
    """`auto` stays with them, and MongoDB's data are of that version."""
    set_up(root, docker)
    sources = root / ".appliance/stamps/sources"
    sources.write_text("packages")
    staged = restoring.stage(archived(tmp_path, SETTINGS))
    docker.add("chatbot.2")
    staged.resolve({"COMPOSE_PROJECT_NAME": "chatbot", "DATA_NAME": "chatbot.2", "SOURCES_RESOLVED": "upstream"})
    staged.take(2)
    restoring.keep()
    assert sources.read_text() == "upstream"
    assert restore._undo() == 0
    assert sources.read_text() == "packages"
    assert restore._undo() == 0
    assert sources.read_text() == "upstream"


@pytest.mark.parametrize("name", [".env", ".appliance/secrets"])
@pytest.mark.parametrize("undo", [False, True])
def test_places_that_are_links_are_refused_before_anything(
    restore: ModuleType, tmp_path: Path, root: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch,
    name: str, undo: bool,
) -> None:  # fmt: skip
    set_up(root, docker)
    (root / name).rename(tmp_path / "there")
    (root / name).symlink_to(tmp_path / "there")
    monkeypatch.setattr(cli, "flag", lambda *_: undo)
    monkeypatch.setattr(restore, "_check_rights", lambda **_: None)
    with pytest.raises(Failure) as refused:
        restore.main()
    assert refused.value.id == "restore.link"
    assert str(tmp_path / "there") in refused.value.hint
    assert restore.did() == []
