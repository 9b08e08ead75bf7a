"""`make up` itself: what it refuses before it changes anything, and what it leaves closed in an upgrade's trial."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scripts.lib import (
    backup_schedule,
    bring_up,
    docker_install,
    former_images,
    host_facts,
    paths,
    preflight,
    resolve,
    restoring,
    secret_files,
    summary,
    switch,
    trying,
)
from scripts.lib.host import Host
from scripts.lib.preflight import Verdict
from scripts.lib.sources import Choice


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/up on a machine where an appliance of packages has data; `did` tells what it had done."""
    loader = SourceFileLoader("up", str(Path(__file__).resolve().parents[3] / "scripts" / "up"))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    loader.exec_module(module)
    did: list[str] = []

    def note(module: object, name: str, answer: object = None) -> None:
        def act(*_: object, **more: object) -> object:
            without = ",".join(more.get("without") or ())  # type: ignore[arg-type]
            did.append(name if name != "start" else f"start without {without or 'nothing'}")
            return answer

        monkeypatch.setattr(module, name, act)

    monkeypatch.setattr(paths, "ENV_FILE", tmp_path / ".env")
    monkeypatch.setattr(resolve.earlier, "__defaults__", (tmp_path / "resolved.env",))
    monkeypatch.setattr(paths, "STAMPS", tmp_path / "stamps")
    (tmp_path / "stamps").mkdir()
    (tmp_path / "stamps" / "sources").write_text("packages")
    monkeypatch.setattr(restoring, "recover", lambda: None)
    monkeypatch.setattr(host_facts, "collect", lambda *_: Host(stored=(1,)))
    choice = Choice("packages", "as before", "llamacpp")
    monkeypatch.setattr(preflight, "run", lambda *_, **__: Verdict((), None, module.choice))
    for owner, name, answer in (
        (bring_up, "begin", None),
        (restoring, "remove_left", None),
        (docker_install, "ensure", False),
        (bring_up, "write_env_file", None),
        (secret_files, "ensure", []),
        (bring_up, "decide", (choice, None)),
        (bring_up, "cards", None),
        (bring_up, "ca_bundle", ""),
        (resolve, "index_url", ""),
        (resolve, "resolve", {}),
        (resolve, "write", None),
        (switch, "forget", None),
        (bring_up, "make_images", None),
        (bring_up, "start", None),
        (trying, "answer", None),
        (trying, "doors", None),
        (former_images, "tidy", None),
        (backup_schedule, "keep_up", None),
        (summary, "show", None),
    ):
        note(owner, name, answer)
    module.choice, module.did = choice, did  # type: ignore[attr-defined]
    for name in ("UPGRADE_STEP", "UPGRADE_LOCK", "UPGRADE_OWNER", "ACCEPT", "GPU"):
        monkeypatch.delenv(name, raising=False)
    return module


def test_other_sources_that_do_not_take_the_data_are_refused_before_anything_is_changed(
    up: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    up.choice = Choice("upstream", "SOURCES=upstream", "koboldcpp")
    assert up._main() == 1
    assert up.did == []
    told = capsys.readouterr().err
    assert "upgrade.mongo_major: MongoDB 6.0 -> 8.0" in told
    assert "leave SOURCES as it was" in told
    monkeypatch.setenv("ACCEPT", "upgrade.mongo_major")
    assert up._main() == 0


def test_in_the_trial_of_a_new_version_nobody_is_let_in(up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPGRADE_STEP", "try")
    assert up._main() == 0
    assert up.did[-3:] == ["start without caddy,wireguard", "answer", "doors"]
    monkeypatch.delenv("UPGRADE_STEP")
    assert up._main() == 0
    assert "start without nothing" in up.did


def test_settings_that_are_gone_are_not_made_anew_unasked(
    up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Those of defaults could name another project, whose volumes are empty."""
    (tmp_path / "resolved.env").write_text("COMPOSE_PROJECT_NAME=lamps\n")
    assert up._main() == 1
    assert up.did == []
    said = capfd.readouterr().err
    assert "settings.gone: .env is gone, and lamps was set up by it -> take it out of the newest backup" in said
    assert "tar --extract --to-stdout --file=ARCHIVE settings/.env > .env" in said
    monkeypatch.setenv("ACCEPT", "settings.gone")
    assert up._main() == 0
    up.did.clear()
    monkeypatch.delenv("ACCEPT")
    (tmp_path / ".env").touch()
    assert up._main() == 0
