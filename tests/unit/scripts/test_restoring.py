"""An archive's settings are laid out beside those in force, judged, and taken into force all together."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import archive, filling, generations, paths, restoring, secret_files, takeover
from scripts.lib.archive import Archive, ArchiveWriter, Manifest
from scripts.lib.failure import Failure
from scripts.lib.host import Host
from scripts.lib.settings import load

MADE = datetime(2026, 11, 22, 8, 15, tzinfo=timezone.utc)
DATA = {
    "collections": {
        "conversations": {"documents": 2, "bytes": 100},
        "messages": {"documents": 4, "bytes": 400},
        "chunks": {"documents": 7, "bytes": 700},
    }
}
SETTINGS = {
    ".env": "DOMAIN=chat.example.org\n",
    **{f"secrets/{name}": f"{name}-of-the-archive" for name in secret_files.NAMES},
    "wireguard/server.json": "{}",
    "compose/bots/assistant.yaml": "name: A\n",
    "compose/bots/harbour.yaml": "name: H\n",
    "compose/formats/mine.toml": "",
    "stamps/sources": "packages",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own, in which nothing is set up."""
    root = tmp_path / "checkout"
    (root / ".appliance").mkdir(parents=True)
    places = {".env": root / ".env", "secrets": root / ".appliance/secrets", "wireguard": root / ".appliance/wireguard"}
    places |= {name: root / name for name in ("compose/bots", "compose/formats")}
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setattr(paths, "RESOLVED_ENV", root / ".appliance/resolved.env")
    monkeypatch.setattr(paths, "STATE", root / ".appliance")
    monkeypatch.setattr(restoring, "PLACES", places)
    monkeypatch.setattr(restoring, "BEFORE", root / ".appliance/before-restore")
    monkeypatch.setattr(generations, "FILE", root / ".appliance/generation")
    monkeypatch.setattr(takeover.take, "__defaults__", (root / ".appliance/takeover.json",))
    monkeypatch.setattr(secret_files, "UID", 0)
    return root


def archived(folder: Path, settings: dict[str, str], data: dict[str, Any] | None = None) -> Archive:
    path = folder / "chatbot-20261122T081500Z.tar"
    with path.open("wb") as file:
        writer = ArchiveWriter(file, MADE)
        writer.add_bytes("data/data.json", json.dumps(DATA if data is None else data).encode())
        for name, text in settings.items():
            writer.add_bytes(f"settings/{name}", text.encode())
        writer.finish(Manifest("chatbot", MADE, "1"))
    return archive.verify(path)


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


def test_all_of_it_is_taken_into_force_and_back(tmp_path: Path, root: Path) -> None:
    (root / ".env").write_text("DOMAIN=old\n")
    (root / "compose/bots").mkdir(parents=True)
    (root / "compose/bots/old.yaml").write_text("")
    staged = restoring.stage(archived(tmp_path, SETTINGS), tmp_path / "stage")
    staged.resolve({"DATA_NAME": "chatbot.2"})
    assert f"SECRETS_DIR={staged.folder}/secrets" in staged.resolved.read_text()
    staged.take(2)
    assert (root / ".env").read_text() == "DOMAIN=chat.example.org\n"
    assert {each.name for each in (root / "compose/bots").iterdir()} == {"assistant.yaml", "harbour.yaml"}
    assert "SECRETS_DIR" not in paths.RESOLVED_ENV.read_text()
    assert generations.current(root / ".appliance/generation") == 2
    restoring.back()
    assert (root / ".env").read_text() == "DOMAIN=old\n"
    assert {each.name for each in (root / "compose/bots").iterdir()} == {"old.yaml"}
    assert generations.current(root / ".appliance/generation") == 1
    assert not paths.RESOLVED_ENV.exists()
    restoring.back()
    assert (root / ".env").read_text() == "DOMAIN=chat.example.org\n"


def test_without_a_restore_there_is_nothing_to_go_back_to(root: Path) -> None:
    with pytest.raises(Failure) as refused:
        restoring.back()
    assert refused.value.id == "restore.nothing_before"


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
