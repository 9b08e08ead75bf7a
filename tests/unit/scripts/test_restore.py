"""The command itself: who may, what it goes back to where it fails, and what UNDO brings back besides the data."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from scripts.lib import (
    backup_schedule,
    bring_up,
    cli,
    docker_install,
    filling,
    findings,
    generations,
    host_facts,
    image_tags,
    paths,
    preflight,
    resolve,
    restoring,
    shell,
    stopping,
    summary,
    switch,
)
from scripts.lib.failure import Failure
from tests.unit.scripts.restore_checkout import IMAGES, SETTINGS, Docker, archived
from tests.unit.scripts.test_restoring_exchange import domain, restored, set_up

pytest_plugins = ["tests.unit.scripts.restore_checkout"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="installs files for cron")


# --- who may ----------------------------------------------------------------------------------------------------------


def test_who_is_not_root_is_told_before_anything_is_read(
    restore: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "is_root", lambda: False)
    monkeypatch.setenv("FROM", "/nowhere/chatbot-20261122T081500Z.tar")
    monkeypatch.delenv("UNDO", raising=False)
    monkeypatch.setattr(restoring, "recover", lambda: pytest.fail("something was changed"))
    with pytest.raises(Failure, match=r"restore\.needs_root") as refused:
        restore.main()
    assert "sudo make restore FROM=" in refused.value.hint


def test_going_back_takes_root_only_where_root_has_made_it(
    restore: ModuleType, tmp_path: Path, root: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(root, docker)
    restored(tmp_path, docker, 2)
    monkeypatch.setattr(shell, "is_root", lambda: False)
    restore._check_rights(undo=True)
    closed = {restoring.BEFORE}
    monkeypatch.setattr(os, "access", lambda path, mode: path not in closed)
    with pytest.raises(Failure, match=r"restore\.needs_root: .*before-restore") as refused:
        restore._check_rights(undo=True)
    assert "sudo make restore UNDO=1" in refused.value.hint
    closed = {paths.STAMPS}
    with pytest.raises(Failure, match=r"restore\.needs_root: .*stamps"):
        restore._check_rights(undo=True)


# --- where it fails ---------------------------------------------------------------------------------------------------


@pytest.fixture
def prepared(restore: ModuleType, tmp_path: Path, root: Path, docker: Docker,
             monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:  # fmt: skip
    """A restore of an archive up to its end, but for one step that fails as at a Ctrl-C."""
    set_up(root, docker)
    (root / ".appliance" / "logs").mkdir()
    found = archived(tmp_path, {**SETTINGS, ".env": "DOMAIN=new\n"})
    monkeypatch.setattr(cli, "flag", lambda *_: False)

    def run(fails: str) -> Any:
        def step(name: str) -> Callable[..., Any]:
            def act(*_: object, **__: object) -> Any:
                if name == fails:
                    raise KeyboardInterrupt
                with (root / "did").open("a") as file:
                    file.write(f"{name}\n")

            return act

        @contextmanager
        def filled(*_: object) -> Iterator[Any]:
            docker.add("chatbot.2")
            if fails == "data":
                raise KeyboardInterrupt
            nothing = SimpleNamespace(**dict.fromkeys(("data", "certificates", "compare", "done"), lambda *_: None))
            nothing.end = step("end")
            yield nothing

        host = SimpleNamespace(toml=True, os_id="debian", os_version="12")
        monkeypatch.setattr(host_facts, "collect", lambda *_: host)
        monkeypatch.setattr(restoring.Staged, "host", lambda *_: host)
        monkeypatch.setattr(restoring, "room_for", lambda *_: None)
        monkeypatch.setattr(preflight, "run", lambda *_, **__: SimpleNamespace(findings=[]))
        monkeypatch.setattr(findings, "report", lambda *_: True)
        monkeypatch.setattr(docker_install, "ensure", lambda *_: False)
        monkeypatch.setattr(restore, "replace", lambda it, **_: it)
        monkeypatch.setattr(bring_up, "begin", lambda: None)
        monkeypatch.setattr(bring_up, "decide", lambda *_, **__: (SimpleNamespace(kind="packages"), None))
        monkeypatch.setattr(bring_up, "cards", lambda *_, **__: None)
        monkeypatch.setattr(bring_up, "ca_bundle", lambda: "")
        monkeypatch.setattr(resolve, "index_url", lambda: "")
        values = {"COMPOSE_PROJECT_NAME": "chatbot", "DATA_NAME": "chatbot.2"}
        monkeypatch.setattr(resolve, "resolve", lambda *_, **__: values)
        monkeypatch.setattr(bring_up, "make_images", step("build"))
        monkeypatch.setattr(filling, "filling", filled)
        monkeypatch.setattr(bring_up, "start", step("start new"))
        monkeypatch.setattr(summary, "show", lambda *_, **__: None)
        staged = restoring.stage(found)
        try:
            return restore._with(found, staged)
        finally:
            restoring.discard()

    return run


@pytest.mark.parametrize("fails", ["build", "data"])
def test_what_was_built_in_vain_gives_its_names_back(
    restore: ModuleType, prepared: Callable[[str], Any], root: Path, fails: str
) -> None:
    """Nothing was stopped; but the next start of what runs must not take the images of other settings."""
    with pytest.raises(KeyboardInterrupt):
        prepared(fails)
    assert [each for each in restore.did() if each != "build"] == ["images ['sha256:old']"]
    assert domain(root) == "old"


def test_what_runs_again_runs_in_its_own_images(
    restore: ModuleType, prepared: Callable[[str], Any], root: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepared("start new")
    assert restore.did() == ["build", "end", "stop", "stop", "images ['sha256:old']", "start", "ready"]
    assert domain(root) == "old"
    assert not restoring.BEFORE.exists()


def test_settings_that_are_gone_are_what_a_restore_brings_back(
    restore: ModuleType, prepared: Callable[[str], Any], root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (root / ".env").unlink()
    assert prepared("") == 0
    assert restore.did() == ["build", "end", "end containers", "start new", "schedule"]
    assert domain(root) == "new"
    assert "settings.gone: .env is gone" in capfd.readouterr().err


def test_without_its_settings_what_was_before_is_not_started_and_that_is_told(
    restore: ModuleType, prepared: Callable[[str], Any], root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (root / ".env").unlink()
    with pytest.raises(KeyboardInterrupt):
        prepared("start new")
    assert restore.did() == ["build", "end", "end containers", "stop", "images ['sha256:old']"]
    assert not (root / ".env").exists()
    assert "it was stopped, and cannot be started without -> take it out of" in capfd.readouterr().err


def test_images_that_are_gone_do_not_keep_it_from_starting(
    restore: ModuleType,
    prepared: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def gone(_: image_tags.Tags) -> int:
        raise Failure("image.former_gone", "it is gone", "`make up`")

    monkeypatch.setattr(image_tags, "put_back", gone)
    with pytest.raises(KeyboardInterrupt):
        prepared("start new")
    assert restore.did()[-2:] == ["start", "ready"]
    assert "image.former_gone: it is gone -> `make up`" in capfd.readouterr().err


def test_a_restore_that_is_good_keeps_the_way_to_the_old_images(
    restore: ModuleType, prepared: Callable[[str], Any], root: Path
) -> None:
    assert prepared("") == 0
    assert restore.did() == ["build", "end", "stop", "start new", "schedule"]
    assert domain(root) == "new"
    so_far = len(restore.did())
    assert restore._undo() == 0
    assert restore.did()[so_far:] == ["stop", "images ['sha256:old']", "start", "ready", "schedule"]
    assert domain(root) == "old"
    # And forth again, with those of the restored settings.
    assert json.loads((restoring.BEFORE / "images.json").read_text()) == {k: list(v) for k, v in IMAGES.items()}


def test_what_the_restore_before_has_kept_goes_with_a_word_that_comes_before(
    prepared: Callable[[str], Any], docker: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepared("") == 0
    assert "restore.undo_goes" not in capsys.readouterr().err, "there was none before"
    os.utime(restoring.BEFORE, (1795335300, 1795335300))
    with pytest.raises(KeyboardInterrupt):
        prepared("build")
    told = [line for line in capsys.readouterr().err.splitlines() if "restore.undo_goes" in line]
    assert len(told) == 1
    assert (
        "in force here until 2026-11-22 08:15 UTC, is gone once this restore is done -> to keep it: Ctrl-C" in told[0]
    )
    docker.volumes -= {f"chatbot_{name}" for name in generations.VOLUMES}
    with pytest.raises(KeyboardInterrupt):
        prepared("build")
    assert "restore.undo_goes" not in capsys.readouterr().err, "there is nothing left to lose"


# --- UNDO -------------------------------------------------------------------------------------------------------------


@needs_root
def test_going_back_has_cron_do_as_the_settings_then_had_it(
    restore: ModuleType, tmp_path: Path, root: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cron.d"
    folder.mkdir()
    monkeypatch.setattr(backup_schedule, "keep_up", restore.keep_up)
    for function in (backup_schedule.apply, backup_schedule.remove, backup_schedule.file_of):
        monkeypatch.setattr(function, "__defaults__", (folder,))
    monkeypatch.setattr(backup_schedule.text, "__defaults__", (root, ""))
    monkeypatch.setattr(backup_schedule, "LOG", root / ".appliance" / "logs" / "backup-scheduled.log")
    monkeypatch.setattr(backup_schedule, "_start", lambda: None)
    monkeypatch.setattr(shell, "which", lambda program: f"/usr/sbin/{program}")

    def told() -> dict[str, str]:
        return {file.name: file.read_text().splitlines()[-1][:10] for file in folder.iterdir()}

    set_up(root, docker, env="old\nBACKUP_SCHEDULE=daily 03:30")
    restored(tmp_path, docker, 2, project="shop", env="new\nBACKUP_SCHEDULE=hourly")
    restore._schedule("chatbot")
    assert list(told()) == ["shop-backup"]
    assert restore._undo() == 0
    assert told() == {"chatbot-backup": "30 3 * * *"}, "as before the restore, and for this name alone"
    (root / ".env").write_text("DOMAIN=old\n")
    assert restore._undo() == 0
    assert list(told()) == ["shop-backup"]
    assert restore._undo() == 0
    assert told() == {}, "these settings have none"


def test_going_back_ends_a_change_of_model_that_was_broken_off(
    restore: ModuleType, tmp_path: Path, root: Path, docker: Docker
) -> None:
    """It was one of the settings that are left: what it had remembered is no model of those that are back."""
    set_up(root, docker)
    before = {**resolve.earlier(), "MODEL_NAME": "small"}
    resolve.write(before, paths.RESOLVED_ENV)
    restored(tmp_path, docker, 2)
    # `make model` was killed in the middle: it had exchanged the engine.
    values = {**resolve.earlier(), "MODEL_NAME": "restored"}
    resolve.write(values, switch._BEFORE)
    resolve.write({**values, "MODEL_NAME": "half changed"}, paths.RESOLVED_ENV)
    assert switch.broken_off(switch._BEFORE)
    assert switch.earlier()["MODEL_NAME"] == "restored"
    assert restore._undo() == 0
    assert not switch.broken_off(switch._BEFORE)
    assert switch.earlier()["MODEL_NAME"] == "small"
    assert restore._undo() == 0
    assert not switch.broken_off(switch._BEFORE)


def test_going_back_is_finished_also_where_it_is_interrupted(
    restore: ModuleType, tmp_path: Path, root: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after the stop would leave the appliance stopped, between two sets of settings."""
    set_up(root, docker)
    restored(tmp_path, docker, 2)
    stop = stopping.stop

    def interrupted(appliance: Any) -> None:
        os.kill(os.getppid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        stop(appliance)

    monkeypatch.setattr(stopping, "stop", interrupted)
    assert restore._undo() == 0
    assert restore.did() == ["stop", "images []", "start", "ready", "schedule"]
    assert domain(root) == "old"
