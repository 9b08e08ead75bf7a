"""Archives under a password, through the real gpg."""

from __future__ import annotations

import io
import os
import random
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from scripts.lib import archive, backup_gpg
from scripts.lib.archive import ArchiveWriter
from scripts.lib.failure import Failure
from tests.unit.scripts.test_archive import MANIFEST, MOMENT, members, refused, unpacked

REFUSALS = {"backup.broken", "backup.foreign", "backup.password_wrong"}


@pytest.fixture
def password(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text("correct horse battery\n")
    return str(file)


def write(path: Path, password: str, content: dict[str, bytes] | None = None) -> Path:
    with path.open("wb") as file, backup_gpg.encrypting(backup_gpg.password(password), file) as pipe:
        writer = ArchiveWriter(pipe, MOMENT)
        for name, raw in (content or members()).items():
            writer.add(name, len(raw), io.BytesIO(raw))
        writer.finish(MANIFEST)
    return path


@pytest.fixture
def good(tmp_path: Path, password: str) -> Path:
    return write(tmp_path / "chatbot-20261122T081500Z.tar.gpg", password)


def test_what_was_encrypted_is_read_with_its_password(good: Path, password: str) -> None:
    found = archive.verify(good, password, deep=True)
    assert found.encrypted and found.size == good.stat().st_size
    assert all(found.read(name) == raw for name, raw in members().items())
    out = io.BytesIO()
    found.stream("data/", out)
    assert next(iter(unpacked(out.getvalue()))) == "data.json"
    assert b"DOMAIN" not in good.read_bytes()


def test_large_members_are_read_from_the_middle_too(tmp_path: Path, password: str) -> None:
    large = random.Random(3).randbytes(5 * 2**20)
    found = archive.verify(
        write(tmp_path / "l.gpg", password, {**members(), "data/a": large, "data/b": b"b"}), password
    )
    assert found.read("data/a") == large
    out = io.BytesIO()
    found.stream("data/", out, first="b")
    assert next(iter(unpacked(out.getvalue()))) == "b" and unpacked(out.getvalue())["a"] == large


def test_it_opens_by_hand_as_readme_says(good: Path, password: str, tmp_path: Path) -> None:
    words = ["gpg", "--batch", "--homedir", str(tmp_path), "--pinentry-mode", "loopback", "--passphrase-file", password]
    plain = subprocess.run([*words, "--decrypt", str(good)], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        assert "data/data.json" in tar.getnames()


def test_the_cipher_is_aes_256_with_a_stretched_password(good: Path, password: str, tmp_path: Path) -> None:
    words = ["gpg", "--batch", "--homedir", str(tmp_path), "--pinentry-mode", "loopback", "--passphrase-file", password]
    shown = subprocess.run([*words, "--list-packets", str(good)], capture_output=True, text=True, check=True).stdout
    assert re.search(r"symkey enc packet: version 4, cipher 9, .*s2k 3, hash 10", shown)
    assert "count 65011712" in shown


def test_without_a_password_it_is_told_that_one_is_needed(good: Path) -> None:
    assert refused(good) == "backup.encrypted"


def test_a_wrong_password_is_told_as_such(good: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("incorrect")
    assert refused(good, str(wrong)) == "backup.password_wrong"


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (b"", "backup.password_invalid"),
        (b"\n \n", "backup.password_invalid"),
        (b"one\ntwo\n", "backup.password_invalid"),
        (b"x" * 256, "backup.password_invalid"),
        (b"\xff\xfe\x00", "backup.password_unreadable"),
        (None, "backup.password_unreadable"),
    ],
)
def test_a_file_that_holds_no_one_password_is_refused(
    content: bytes | None, finding: str, good: Path, tmp_path: Path
) -> None:
    file = tmp_path / "other"
    if content is not None:
        file.write_bytes(content)
    assert refused(good, str(file)) == finding


def test_line_ends_do_not_belong_to_a_password(good: Path, tmp_path: Path) -> None:
    file = tmp_path / "typed-on-another-system"
    file.write_bytes(b"correct horse battery\r\n")
    assert archive.verify(good, str(file))


def test_flipped_bytes_are_refused(good: Path, password: str) -> None:
    raw = good.read_bytes()
    chance = random.Random(4)
    for place in (*range(16), *(chance.randrange(16, len(raw)) for _ in range(8)), len(raw) - 1):
        good.write_bytes(raw[:place] + bytes([raw[place] ^ 1 << chance.randrange(8)]) + raw[place + 1 :])
        assert refused(good, password) in REFUSALS, place


def test_cut_off_and_added_to_it_is_refused(good: Path, password: str) -> None:
    raw = good.read_bytes()
    for length in (1, 2, 14, 15, 30, len(raw) // 2, len(raw) - 20, len(raw) - 1):
        good.write_bytes(raw[:length])
        assert refused(good, password) in REFUSALS, length
    for more in (b"\0", raw):
        good.write_bytes(raw + more)
        assert refused(good, password) in REFUSALS


def test_neither_files_nor_processes_nor_the_password_are_left(good: Path, password: str, tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("chatbot-gpg-*"))
    archive.verify(good, password)
    assert set(Path("/tmp").glob("chatbot-gpg-*")) - before == set()


def test_a_missing_gpg_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(backup_gpg.shell, "_SBIN", str(tmp_path))
    with pytest.raises(Failure, match=r"backup\.gpg_missing"), backup_gpg.encrypting("x", (tmp_path / "a").open("wb")):
        pass


def test_a_full_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(OSError, match=os.strerror(28)),
        backup_gpg.encrypting("x", full) as pipe,
    ):
        for _ in range(64):
            pipe.write(random.Random(5).randbytes(2**20))
