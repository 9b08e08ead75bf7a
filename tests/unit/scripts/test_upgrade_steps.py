"""How an upgrade has another version's `make up` do its work in parts, under one lock."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import cli, host_facts, paths, settings, upgrade_beside, upgrade_steps, upgrading
from scripts.lib.failure import Failure

# Says what it was told, where it runs, and whether it gets the lock that its caller holds.
_UP = """#!{python}
import os, sys, json
sys.path.insert(0, {root!r})
from pathlib import Path
from scripts.lib import cli, paths, upgrade_steps
paths.ROOT = Path({folder!r})
with cli.exclusive(leads_back=True):
    names = ("KOBOLDCPP_SOURCE", "SMTP_PASSWORD_FILE", "UPGRADE_STEP", "UPGRADE_OWNER", "DOMAIN", "SOURCES", "GPU")
    names += ("PATH_OF_ANOTHER", "COMPOSE_PROJECT_NAME")
    told = {{name: os.environ.get(name) for name in names}}
    Path("told.json").write_text(json.dumps([told, upgrade_steps.called(), os.getcwd()]))
sys.exit(int(os.environ.get("ENDS_WITH", "0")))
"""
_HERE = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose `make up` tells what it is told."""
    up = tmp_path / "scripts" / "up"
    up.parent.mkdir()
    up.write_text(_UP.format(python=sys.executable, root=str(_HERE), folder=str(tmp_path)))
    up.chmod(up.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "resolved.env").write_text(
        "DOMAIN=a.example.org\nSOURCES=packages\nGPU=1\nPATH_OF_ANOTHER=x\nCOMPOSE_PROJECT_NAME=lanterns\n"
    )
    (tmp_path / "logs").mkdir()
    for place, path in (("ROOT", tmp_path), ("RESOLVED_ENV", tmp_path / "resolved.env"), ("LOGS", tmp_path / "logs")):
        monkeypatch.setattr(paths, place, path)
    monkeypatch.setattr(upgrading, "NEXT", tmp_path)
    return tmp_path


def told(folder: Path) -> Any:
    return json.loads((folder / "told.json").read_text())


def test_it_is_prepared_with_the_settings_of_the_last_make_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAIN", "b.example.org")
    monkeypatch.delenv("SOURCES", raising=False)
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "another")
    env = folder / ".env"
    env.write_text("SMTP_PASSWORD_FILE=../mail/password\nKOBOLDCPP_SOURCE=/srv/koboldcpp\n")
    with cli.exclusive() as lock:
        upgrade_beside.prepare(settings.load(env), lock)
    given = {"DOMAIN": "b.example.org", "SOURCES": "packages", "GPU": "1", "PATH_OF_ANOTHER": None}
    # Whatever name this shell has: the one of the last `make up` is that of the data which are copied.
    given["COMPOSE_PROJECT_NAME"] = "lanterns"
    # What leads out of this folder leads elsewhere from the other one.
    given |= {"SMTP_PASSWORD_FILE": str(folder.parent / "mail/password"), "KOBOLDCPP_SOURCE": None}
    assert told(folder) == [{"UPGRADE_STEP": "prepare", "UPGRADE_OWNER": str(folder), **given}, True, str(folder)]


def test_the_lock_is_handed_on_and_stays_held(folder: Path) -> None:
    with cli.exclusive() as lock:
        upgrade_beside.try_out(lock)
        assert told(folder)[:2] == [{**told(folder)[0], "UPGRADE_STEP": "try"}, True]
        upgrade_beside.open_up(lock)
        assert told(folder)[:2] == [{**told(folder)[0], "UPGRADE_STEP": None}, True]
        other = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
    with cli.exclusive():
        pass


def test_what_fails_is_told_by_its_part(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDS_WITH", "1")
    (folder / ".appliance" / "logs").mkdir(parents=True)
    (folder / ".appliance" / "logs" / "up.log").write_text("no space left")
    with cli.exclusive() as lock:
        for part, wanted in (
            (lambda: upgrade_beside.prepare(settings.load(folder / ".env"), lock), "upgrade.not_prepared"),
            (lambda: upgrade_beside.try_out(lock), "upgrade.unfit"),
            (lambda: upgrade_beside.open_up(lock), "upgrade.not_opened"),
        ):
            with pytest.raises(Failure) as failed:
                part()
            assert failed.value.id == wanted
    # The folder that it was prepared in goes; what it said stays.
    assert (folder / "logs" / "upgrade-prepare.log").read_text() == "no space left"
    monkeypatch.setenv("ENDS_WITH", "130")
    with cli.exclusive() as lock:
        with pytest.raises(KeyboardInterrupt):
            upgrade_beside.try_out(lock)
        with pytest.raises(Failure) as closed:
            upgrade_beside.open_up(lock)
        assert closed.value.id == "upgrade.not_opened"


def test_a_plain_make_up_was_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UPGRADE_STEP", "UPGRADE_OWNER", "UPGRADE_LOCK"):
        monkeypatch.delenv(name, raising=False)
    assert (upgrade_steps.called(), upgrade_steps.wanted(), upgrade_steps.owner()) == (False, "", "")
    assert upgrade_steps.lock() is None
    monkeypatch.setenv("UPGRADE_LOCK", "yes")
    assert upgrade_steps.lock() is None


def test_the_owners_containers_are_not_somebody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, stranger = tmp_path / "owner", tmp_path / "stranger"
    for each in (owner, stranger):
        each.mkdir()
    listed = f"{owner}\n{owner}\n{stranger}\n"
    monkeypatch.setattr(host_facts.docker_daemon, "ask", lambda *_, **__: (0, listed, ""))
    monkeypatch.delenv("UPGRADE_OWNER", raising=False)
    assert host_facts._elsewhere("chatbot") == (str(owner), str(stranger))
    monkeypatch.setenv("UPGRADE_OWNER", str(owner))
    assert host_facts._elsewhere("chatbot") == (str(stranger),)
