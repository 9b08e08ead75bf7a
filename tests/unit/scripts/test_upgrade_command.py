"""The command itself: what comes before anything is stopped, and what it tells at its end."""

from __future__ import annotations

import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from scripts.lib import (
    backup_run,
    backup_store,
    cli,
    compose,
    former_images,
    generations,
    majors,
    observed,
    resolve,
    restoring,
    settings,
    standstill,
    stopping,
    upgrade_beside,
    upgrade_show,
    upgrading,
)
from scripts.lib.failure import Failure
from scripts.lib.upgrade_git import Version
from scripts.lib.upgrading import BESIDE, Journal

OLD, NEW = (Version(each * 40, "2026-11-22", f"Version {each}") for each in "12")


class Repository:
    """A checkout of OLD, at whose home is NEW."""

    folder = Path("/nowhere")

    def check(self) -> None: ...

    def current(self) -> Version:
        return OLD

    def fetch(self, _: str) -> Version:
        return NEW

    def check_newer(self, *_: Version) -> None: ...

    def in_the_way(self, _: Version) -> list[str]:
        return []


@pytest.fixture
def upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """scripts/upgrade, with everything that it calls in place; `did` tells what it called, in a file because the way
    back is another process."""
    loader = SourceFileLoader("upgrade", str(Path(__file__).resolve().parents[3] / "scripts" / "upgrade"))
    module: Any = ModuleType(loader.name)
    module.__file__ = loader.path
    loader.exec_module(module)
    did = tmp_path / "did"
    did.touch()

    def note(owner: object, name: str, answer: object = None, fails: str = "") -> None:
        def act(*_: object, **__: object) -> object:
            with did.open("a") as file:
                file.write(f"{name}\n")
            if name == module.fails:
                raise Failure(f"test.{name}", "on purpose")
            return answer

        monkeypatch.setattr(owner, name, act)

    journal = tmp_path / "journal.json"
    journal.touch()
    monkeypatch.setattr(upgrading, "_JOURNAL", journal)
    begun = Journal(BESIDE, OLD.commit, NEW.commit, "chatbot", {})
    begun.write()
    resolved = {"SOURCES_RESOLVED": "packages", "DATA_NAME": "chatbot"}
    monkeypatch.setattr(compose, "current", lambda: SimpleNamespace(project="chatbot"))
    monkeypatch.setattr(resolve, "earlier", lambda *_: resolved)
    monkeypatch.setattr(settings, "load", lambda **_: {"SOURCES": "auto"})
    monkeypatch.setattr(backup_store, "folder", lambda _: tmp_path)
    monkeypatch.setattr(observed, "readyz_inside", lambda _: {"status": "ready"})
    monkeypatch.setattr(upgrade_show, "lines", lambda *_: [])
    monkeypatch.setattr(majors, "steps", lambda *_, **__: [])
    monkeypatch.setattr(generations, "unused", lambda _: 2)
    monkeypatch.setattr(upgrading, "check_unchanged", lambda *_: None)
    monkeypatch.setattr(restoring, "remove_left", lambda _: None)
    module.room = lambda: did.open("a").write("room\n")
    monkeypatch.setattr(module, "_check_room", lambda: module.room())
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    monkeypatch.setattr(standstill, "told", lambda _, stopped: f"nobody was answered for {1063 - stopped:.0f} s")
    monkeypatch.setattr(upgrading, "begin", lambda *_: begun)
    module.fails, module.try_out = "", upgrade_beside.try_out
    for owner, name, answer in (
        (upgrade_beside, "check_out", Repository()),
        (upgrade_beside, "lay_out", None),
        (upgrade_beside, "prepare", None),
        (upgrade_beside, "bring_weights", None),
        (backup_run, "run", (SimpleNamespace(path="/backups/a.tar"), [])),
        (stopping, "stop", None),
        (generations, "copy", None),
        (upgrade_beside, "take", None),
        (upgrade_beside, "try_out", None),
        (upgrading, "end", None),
        (upgrade_beside, "open_up", None),
        (upgrading, "put_back", None),
        (former_images, "remove_old", None),
    ):
        note(owner, name, answer)

    def start(stopped: float) -> str:
        with did.open("a") as file:
            file.write("start\n")
        return standstill.told(None, stopped)  # type: ignore[arg-type]

    monkeypatch.setattr(upgrading, "start", start)
    monkeypatch.delenv("TO", raising=False)
    monkeypatch.delenv("SHOW", raising=False)
    module.did = lambda: did.read_text().split()
    module.journal = begun
    return module


BEFORE_IT_STOPS = ["check_out", "lay_out", "prepare", "bring_weights", "room", "run", "room"]


def test_all_that_is_large_comes_before_the_stop_and_its_end_tells_the_standstill(
    upgrade: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upgrade._main(Repository(), 0) == 0
    assert upgrade.did() == [*BEFORE_IT_STOPS, "stop", "copy", "take", "try_out", "end", "open_up"]
    told = capsys.readouterr().out
    assert f"This is {NEW}, after " in told
    assert "; nobody was answered for 63 s.\n" in told


@pytest.mark.parametrize("fails", ["copy", "try_out"])
def test_who_is_led_back_is_told_the_standstill_too(
    upgrade: Any, fails: str, capfd: pytest.CaptureFixture[str]
) -> None:
    upgrade.fails = fails
    with pytest.raises(Failure):
        upgrade._main(Repository(), 0)
    # Images take a while to go: not before it answers again.
    assert upgrade.did()[-4:] == [fails, "put_back", "start", "remove_old"]
    told = capfd.readouterr().err
    assert "runs again, with the data of before; nothing was lost, and nobody was answered for 63 s" in told


def test_where_the_backup_has_taken_the_room_nothing_is_stopped(
    upgrade: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    room = upgrade.room

    def full() -> None:
        room()
        if upgrade.did().count("room") == 2:
            raise Failure("disk.too_small", "it is full")

    upgrade.room = full
    with pytest.raises(Failure):
        upgrade._main(Repository(), 0)
    assert upgrade.did() == [*BEFORE_IT_STOPS, "put_back", "remove_old"]
    assert "nobody was answered" not in capfd.readouterr().err


def test_the_last_line_after_a_version_that_is_unfit_says_what_is_so_now_and_what_to_do(
    upgrade: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(upgrade_beside, "try_out", upgrade.try_out)
    monkeypatch.setattr(upgrade_beside, "_up", lambda *_: 1)
    assert cli.run("upgrade", lambda: upgrade._main(Repository(), 0)) == 1
    told = capfd.readouterr().err
    assert told.endswith(
        "error upgrade.unfit: the new version does not get well on this machine\n"
        "  -> the version before runs again, and nothing is lost; report what stands above, or wait for the next "
        "version: `make upgrade` tries again\n"
    )
    assert told.count("upgrade.unfit") == told.count("  -> ") == 1
    assert "upgrade.failed: the new version does not get well on this machine\n" in told


def test_where_the_way_back_fails_nothing_says_that_the_version_before_runs(
    upgrade: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(upgrade_beside, "try_out", upgrade.try_out)
    monkeypatch.setattr(upgrade_beside, "_up", lambda *_: 1)
    upgrade.fails = "put_back"
    assert cli.run("upgrade", lambda: upgrade._main(Repository(), 0)) == 1
    told = capfd.readouterr().err
    assert "error test.put_back: on purpose" in told
    assert "runs again" not in told


def test_a_full_disk_after_the_way_back_is_no_failure_of_it(
    upgrade: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(former_images, "remove_old", full)
    upgrade.fails = "copy"
    with pytest.raises(Failure, match=r"test\.copy"):
        upgrade._main(Repository(), 0)
    assert "runs again" in capfd.readouterr().err
