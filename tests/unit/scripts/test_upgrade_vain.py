"""What an upgrade has built in vain is noted for removal, whatever the way back is killed at."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from scripts.lib import image_tags, upgrading
from scripts.lib.former_images import Former
from scripts.lib.images import Stamps
from scripts.lib.upgrade_git import Repository
from tests.unit.scripts.upgrade_checkout import Counted, Docker, Tags, commit, exchanged

pytest_plugins = ["tests.unit.scripts.upgrade_checkout"]
_STEPS = 60


@pytest.mark.parametrize("step", range(_STEPS))
def test_killed_on_the_way_back_what_was_built_in_vain_is_noted_in_the_end(
    root: Path, home: Path, docker: Docker, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps, images = root / ".appliance/stamps", '{"chatbot-proxy:local": ["inputs", "sha256:%s"]}'
    monkeypatch.setattr(Stamps.__init__, "__defaults__", (stamps / "images.json",))
    (stamps / "images.json").write_text(images % "old")
    exchanged(root, home)
    (upgrading.NEXT / ".appliance/stamps/images.json").write_text(images % "prepared")
    # What is started on the copy was built once more.
    (stamps / "images.json").write_text(images % "tried")
    with monkeypatch.context() as patch:
        Counted(patch, step)
        with contextlib.suppress(KeyboardInterrupt):
            upgrading.recover()
    upgrading.recover()
    assert Former(stamps / "former-images.json").older == ["sha256:prepared", "sha256:tried"]
    assert (stamps / "images.json").read_text() == images % "old"


def test_what_was_built_in_vain_beside_what_runs_is_noted_before_its_names_go(
    root: Path, home: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = root / ".appliance/stamps"
    (stamps / "images.json").write_text("{}")
    upgrading.begin(Repository(root), "1" * 40, commit(home, "New", {"a.txt": "x"}), "chatbot")
    (upgrading.NEXT / ".appliance/stamps").mkdir(parents=True)
    (upgrading.NEXT / ".appliance/stamps/images.json").write_text('{"chatbot-proxy:local": ["new", "sha256:new"]}')

    def put_back(_: object) -> int:
        assert Former(stamps / "former-images.json").older == ["sha256:new"]
        return 0

    monkeypatch.setattr(image_tags, "put_back", put_back)
    assert upgrading.recover() is True
    assert Former(stamps / "former-images.json").older == ["sha256:new"]


def test_a_full_disk_keeps_nobody_from_going_back(
    root: Path,
    home: Path,
    tags: Tags,
    docker: Docker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    exchanged(root, home)
    monkeypatch.setattr(image_tags, "note_vain", full)
    assert upgrading.recover() is True
    assert tags.back == [tags.before]
    told = capsys.readouterr().err
    assert "image.not_noted: what was built in vain stays: No space left on device -> once there is room" in told
