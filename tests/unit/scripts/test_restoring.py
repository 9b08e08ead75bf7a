"""An archive's settings are laid out beside those in force, judged, and taken into force all together."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import filling, restoring
from scripts.lib.failure import Failure
from scripts.lib.host import Host
from scripts.lib.settings import load
from tests.unit.scripts.restore_checkout import SETTINGS, archived

pytest_plugins = ["tests.unit.scripts.restore_checkout"]


def test_settings_are_laid_out_for_who_may_read_them(tmp_path: Path, root: Path) -> None:
    staged = restoring.stage(archived(tmp_path, SETTINGS), tmp_path / "stage")
    assert staged.env_file.read_text() == "DOMAIN=chat.example.org\n"
    modes = {
        name: (staged.folder / name).stat().st_mode & 0o777 for name in (".env", "secrets", "secrets/chroma_token")
    }
    assert modes == {".env": 0o600, "secrets": 0o700, "secrets/chroma_token": 0o600}
    assert (staged.folder / "compose/bots/harbour.yaml").stat().st_mode & 0o777 == 0o644
    assert not (staged.folder / "stamps").exists()
    assert list(root.glob("*")) == [root / ".appliance"]
    restoring.discard(tmp_path / "stage")
    assert not staged.folder.exists()


@pytest.mark.parametrize("missing", [".env", "secrets/mongo_password"])
def test_an_archive_that_nothing_could_be_started_with_is_refused(tmp_path: Path, missing: str) -> None:
    found = archived(tmp_path, {name: text for name, text in SETTINGS.items() if name != missing})
    with pytest.raises(Failure) as refused:
        restoring.stage(found, tmp_path / "stage")
    assert refused.value.id == "backup.incomplete"


def test_the_machine_is_judged_as_it_will_be(tmp_path: Path, root: Path) -> None:
    staged = restoring.stage(archived(tmp_path, {**SETTINGS, "own/SMTP_PASSWORD_FILE": "x"}), tmp_path / "stage")
    host = staged.host(replace(Host(), locked_out=True, mail_password="missing", engine_key="missing"))
    assert host.bots == {"assistant", "harbour"}
    assert "mine" in host.formats
    assert (host.secrets, host.wireguard, host.locked_out) == (True, True, False)
    assert (host.mail_password, host.engine_key) == ("readable", "missing")


def test_the_operators_own_files_are_put_where_none_is(tmp_path: Path, root: Path) -> None:
    there, gone = tmp_path / "there", tmp_path / "etc" / "gone"
    there.write_text("mine")
    own = {"own/SMTP_PASSWORD_FILE": "of the archive", "own/ENGINE_API_KEY_FILE": "of the archive", "own/PATH": "no"}
    env = {".env": f"SMTP_PASSWORD_FILE={there}\nENGINE_API_KEY_FILE={gone}\n"}
    staged = restoring.stage(archived(tmp_path, {**SETTINGS, **env, **own}), tmp_path / "stage")
    assert staged.own() == ["ENGINE_API_KEY_FILE", "SMTP_PASSWORD_FILE"]
    assert staged.put_own(load(staged.env_file, {})) == [str(gone)]
    assert (there.read_text(), gone.read_text(), gone.stat().st_mode & 0o777) == ("mine", "of the archive", 0o400)
    with pytest.raises(Failure) as refused:
        staged.put_own(load(staged.env_file, {"ENGINE_API_KEY_FILE": f"{there}/below"}))
    assert refused.value.id == "restore.own_file"


def test_what_is_in_an_archive_is_told(tmp_path: Path) -> None:
    lines = restoring.told(archived(tmp_path, SETTINGS))
    assert lines[0].startswith("made 2026-11-22 08:15 UTC of chatbot, ")
    assert lines[1] == "2 conversations, 4 messages, 7 passages"


def test_a_disk_that_is_too_small_is_told_before_anything(tmp_path: Path) -> None:
    found = archived(tmp_path, SETTINGS, {"collections": {"messages": {"documents": 1, "bytes": 10 * 2**30}}})
    restoring.room_for(found, replace(Host(), disk_free_bytes=25 * 2**30))
    with pytest.raises(Failure) as refused:
        restoring.room_for(found, replace(Host(), disk_free_bytes=15 * 2**30))
    assert refused.value.id == "disk.too_small"


class Worker(filling.Filling):
    """A worker that says what it is told to."""

    answer: tuple[int, str, str]

    def _worker(self, verb: str, given: Any, *words: str) -> tuple[int, str, str]:
        given(io.BytesIO())
        return self.answer


@pytest.mark.parametrize(
    ("answer", "finding", "told"),
    [
        ((0, '{"differences": 0}', ""), "", ""),
        ((1, '{"differences": 1, "collections": {"messages": {"ids": ["m1"]}}}', ""), "restore.differs", "m1"),
        ((1, "", "backup.storage_unavailable: MongoDB is away\n  -> start it\n"), "backup.storage_unavailable", "away"),
        ((1, "", "Killed"), "restore.failed", "Killed"),
        ((0, "nonsense", ""), "restore.failed", "nonsense"),
    ],
)
def test_data_that_differs_is_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str, str], finding: str, told: str
) -> None:
    monkeypatch.setattr(filling.log, "file", lambda: tmp_path / "log")
    new = Worker(None, archived(tmp_path, SETTINGS))  # type: ignore[arg-type]
    object.__setattr__(new, "answer", answer)
    if not finding:
        new.compare()
        return
    with pytest.raises(Failure) as refused:
        new.compare()
    assert refused.value.id == finding
    assert told in refused.value.fact


def test_a_command_that_stops_reading_says_why_itself() -> None:
    script = "import sys; sys.stdin.buffer.read(10); sys.exit('restore.not_empty: it holds data')"
    status, _, err = filling._fed([sys.executable, "-c", script], lambda pipe: _much(pipe), {})
    assert (status, err.strip()) == (1, "restore.not_empty: it holds data")


def _much(pipe: Any) -> None:
    for _ in range(100):
        pipe.write(bytes(2**16))


def test_bots_can_be_read_and_secrets_not_whatever_umask_root_has(tmp_path: Path, root: Path) -> None:
    for number, umask in enumerate((0o077, 0o000)):
        before = os.umask(umask)
        try:
            staged = restoring.stage(archived(tmp_path, SETTINGS), tmp_path / f"stage-{number}")
        finally:
            os.umask(before)
        names = (".", "secrets", "secrets/chroma_token", "compose/bots", "compose/bots/harbour.yaml")
        modes = [(staged.folder / name).stat().st_mode & 0o777 for name in names]
        assert modes == [0o700, 0o700, 0o600, 0o755, 0o644], oct(umask)


def test_an_archive_that_is_refused_leaves_no_secret_behind(tmp_path: Path, root: Path) -> None:
    found = archived(tmp_path, {name: text for name, text in SETTINGS.items() if name != ".env"})
    with pytest.raises(Failure):
        restoring.stage(found, tmp_path / "stage")
    assert not (tmp_path / "stage").exists()


def test_an_own_file_is_never_written_through_a_link_that_somebody_planted(tmp_path: Path, root: Path) -> None:
    victim, planted = tmp_path / "victim", tmp_path / "planted"
    planted.symlink_to(victim)
    own = {".env": f"ENGINE_API_KEY_FILE={planted}\n", "own/ENGINE_API_KEY_FILE": "of the archive"}
    staged = restoring.stage(archived(tmp_path, {**SETTINGS, **own}), tmp_path / "stage")
    with pytest.raises(Failure) as refused:
        staged.put_own(load(staged.env_file, {}))
    assert refused.value.id == "restore.own_file"
    assert not victim.exists()
