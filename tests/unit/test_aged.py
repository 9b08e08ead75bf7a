"""The aged volumes are what an upgrade meets: whole, small, and with nobody's secrets."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import pytest

from tests.aged import COMMITS, HERE, UID, Aged, aged_volume
from tests.aged.make import COMMITS as MADE


def test_each_has_what_makes_it_anew() -> None:
    assert tuple(MADE) == COMMITS
    assert {file.name.split(".")[0] for file in HERE.glob("*.tar.xz")} == set(COMMITS)


@pytest.mark.parametrize("commit", COMMITS)
def test_what_it_holds_is_told_without_what_lets_anybody_in(commit: str) -> None:
    aged = Aged(commit)
    assert aged.expected["commit"].startswith(commit)
    assert aged.archive.stat().st_size < 700_000
    told = (HERE / f"{commit}.json").read_text(encoding="utf-8")
    assert not re.search(r"\b(kb|kv)_", told)
    assert not any(secret in told for secret in (aged.let_in.key, *aged.secrets.values()))


@pytest.mark.parametrize("commit", COMMITS)
def test_a_volume_belongs_to_the_containers_user_and_has_its_database(commit: str) -> None:
    aged = Aged(commit)
    for folder, file in (("mongo", "data/WiredTiger.wt"), ("chroma", "data/chroma.sqlite3")):
        with tarfile.open(fileobj=io.BytesIO(aged_volume(aged, folder))) as tar:
            members = {member.name: member for member in tar}
        assert {(member.uid, member.gid) for member in members.values()} == {(UID, UID)}
        assert members["data"].isdir()
        assert members[file].size > 10_000
    assert bool(aged_volume(aged, "words")) == (aged.expected["schema"] >= 9)


@pytest.mark.parametrize("commit", COMMITS)
def test_it_is_laid_out_as_the_native_services_keep_it(commit: str, tmp_path: Path) -> None:
    Aged(commit).unpack(tmp_path)
    assert (tmp_path / "mongo" / "journal").is_dir()
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "secrets" / "mongo_password").read_text() == Aged(commit).secrets["mongo_password"]
    assert not (tmp_path / "let-in.json").exists()
