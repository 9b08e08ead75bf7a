"""Archives: whatever is not the archive that was written is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import subprocess
import tarfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib import archive, archive_bson, archive_tar
from scripts.lib.archive import ArchiveWriter, Manifest, ModelFile
from scripts.lib.archive_tar import BLOCK, BrokenArchiveError, Reader
from scripts.lib.failure import Failure

MOMENT = datetime(2026, 11, 22, 8, 15, 0, tzinfo=timezone.utc)
BSON = b"\x16\x00\x00\x00\x02a\x00\x02\x00\x00\x00b\x00"
MANIFEST = Manifest("chatbot", MOMENT, "0.1.0", "c0ffee", "packages", (ModelFile("a.gguf", 3, "00"),))
REFUSALS = {"backup.broken", "backup.foreign", "backup.newer", "backup.encrypted"}


def told(collections: dict[str, bytes]) -> bytes:
    each = {
        name: {"documents": 1, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        for name, raw in collections.items()
    }
    return json.dumps({"schema": 7, "moment": "2026-11-22T08:15:00Z", "collections": each, "vectors": {}}).encode()


def members(packed: bytes = b"") -> dict[str, bytes]:
    return {
        "data/mongo/messages.bson.gz": packed or gzip.compress(BSON, mtime=0),
        "data/mongo/messages.metadata.json": b"{}",
        "data/data.json": told({"messages": BSON}),
        "settings/.env": b"DOMAIN=localhost\n",
        "settings/secrets/mongo_password": b"secret",
        "caddy/pki/root.crt": b"",
    }


def write(path: Path, content: dict[str, bytes] | None = None) -> Path:
    with path.open("wb") as file:
        writer = ArchiveWriter(file, MOMENT)
        for name, raw in (members() if content is None else content).items():
            writer.add(name, len(raw), io.BytesIO(raw))
        writer.finish(MANIFEST)
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path / "chatbot-20261122T081500Z.tar")


def refused(path: Path, password_file: str = "", *, deep: bool = False) -> str:
    with pytest.raises(Failure) as caught:
        archive.verify(path, password_file, deep=deep)
    assert caught.value.hint
    return caught.value.id


def test_what_was_written_is_read(good: Path) -> None:
    found = archive.verify(good, deep=True)
    assert found.manifest.made_at == MOMENT and found.manifest.models == MANIFEST.models
    assert (found.manifest.project, found.manifest.commit, found.manifest.sources) == ("chatbot", "c0ffee", "packages")
    assert found.data["schema"] == 7
    assert found.size == good.stat().st_size and not found.encrypted
    assert [one.name for one in found.members()] == ["FORMAT", *members()]
    for name, raw in members().items():
        assert found.read(name) == raw
    with pytest.raises(KeyError):
        found.read("settings/none")


def test_the_same_content_gives_the_same_bytes(good: Path, tmp_path: Path) -> None:
    assert write(tmp_path / "again.tar").read_bytes() == good.read_bytes()


def test_tar_and_tarfile_read_it(good: Path) -> None:
    names = subprocess.run(["tar", "tf", str(good)], capture_output=True, text=True, check=True).stdout.split()
    assert names == ["FORMAT", *members(), "manifest.json", "SHA256"]
    with tarfile.open(good) as tar:
        for each in tar.getmembers():
            assert (each.mode, each.uid, each.gid, each.mtime) == (0o600, 0, 0, MOMENT.timestamp())
        content = tar.extractfile("data/mongo/messages.bson.gz")
        assert content and gzip.decompress(content.read()) == BSON


def test_the_checksum_is_of_every_byte_before_it(good: Path) -> None:
    """As README says it can be checked by hand."""
    raw = good.read_bytes()
    with tarfile.open(good) as tar:
        last = tar.getmember("SHA256")
        content = tar.extractfile(last)
        assert content and content.read() == f"{hashlib.sha256(raw[: last.offset]).hexdigest()}\n".encode()


def put(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b", buffering=0) as file:
        file.seek(place)
        file.write(content)


def test_every_flipped_byte_is_refused(good: Path) -> None:
    raw = good.read_bytes()
    chance = random.Random(1)
    for place, byte in enumerate(raw):
        put(good, place, bytes([byte ^ chance.randrange(1, 256)]))
        assert refused(good) in REFUSALS, place
        put(good, place, raw[place : place + 1])
    assert archive.verify(good)


def test_every_single_bit_of_a_header_and_of_the_end_is_refused(good: Path) -> None:
    """Where a lenient reader would see nothing: owners, unused fields, padding."""
    raw = good.read_bytes()
    with tarfile.open(good) as tar:
        last = tar.getmember("SHA256").offset
    for place in (*range(BLOCK), *range(last, last + BLOCK + 70), len(raw) - 1):
        for bit in range(8):
            put(good, place, bytes([raw[place] ^ 1 << bit]))
            assert refused(good) in REFUSALS, (place, bit)
        put(good, place, raw[place : place + 1])


def test_every_length_but_the_whole_is_refused(good: Path) -> None:
    raw = good.read_bytes()
    for more in (b"\0", b"x", b"\0" * 512, b"\0" * 10240):
        good.write_bytes(raw + more)
        assert refused(good) == "backup.broken"
    for length in reversed(range(len(raw))):
        os.truncate(good, length)
        assert refused(good) in REFUSALS, length


def test_a_missing_file_and_a_strange_one_are_told_apart(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.tar") == "backup.missing"
    strange = tmp_path / "strange.tar"
    with tarfile.open(strange, "w") as tar:
        tar.addfile(tarfile.TarInfo("hello"))
    assert refused(strange) == "backup.foreign"
    strange.write_bytes(b"hello")
    assert refused(strange) == "backup.foreign"


def test_a_newer_format_is_refused_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "FORMAT", 2)
    newer = write(tmp_path / "newer.tar")
    monkeypatch.undo()
    with pytest.raises(Failure, match=r"backup\.newer.*its format is 2, this one reads 1"):
        archive.verify(newer)


def raw_archive(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A whole archive with a right checksum, whatever is in it: what an attacker can make."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            info.mtime, info.size = int(MOMENT.timestamp()), len(content)
            tar.addfile(info, io.BytesIO(content))
        length = tar.offset
    body = out.getvalue()[:length]
    return body + archive_tar.tail(hashlib.sha256(body).hexdigest(), len(body), int(MOMENT.timestamp()))


def _info(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = 0o600
    for key, value in fields.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    "hostile",
    [
        _info("/etc/passwd"),
        _info("data/../../etc/passwd"),
        _info("data/./x"),
        _info("data//x"),
        _info("../x"),
        _info("elsewhere/x"),
        _info("settings"),
        _info("data/a\nb"),
        _info("data/a\\b"),
        _info("data/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        _info("data/link", type=tarfile.LNKTYPE, linkname="FORMAT"),
        _info("data/device", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        _info("data/fifo", type=tarfile.FIFOTYPE),
        _info("data/folder", type=tarfile.DIRTYPE),
        _info("data/x", mode=0o4755),
        _info("data/x", uid=10001),
        _info("FORMAT"),
        _info("FORMAT/x"),
        _info("data/" + "x" * 2000),
    ],
    ids=lambda info: f"{info.name[:20]!r} {info.type!r}",
)
def test_a_hostile_member_is_refused_although_every_checksum_is_right(hostile: tarfile.TarInfo, tmp_path: Path) -> None:
    path = tmp_path / "hostile.tar"
    path.write_bytes(raw_archive([(_info("FORMAT"), b"chatbot backup 1\n"), (hostile, b"")]))
    assert refused(path) == "backup.broken"


def test_what_comes_behind_the_manifest_or_twice_is_refused(tmp_path: Path) -> None:
    manifest = MANIFEST.to_json()
    for entries in (
        [("FORMAT", b"chatbot backup 1\n"), ("manifest.json", manifest), ("data/data.json", b"{}")],
        [("FORMAT", b"chatbot backup 1\n"), ("data/a", b"1"), ("data/a", b"1"), ("manifest.json", manifest)],
        [("FORMAT", b"chatbot backup 1\n"), ("manifest.json", manifest), ("manifest.json", manifest)],
        [("FORMAT", b"chatbot backup 1\n"), ("data/data.json", b"{}"), ("manifest.json", manifest)],
        [("FORMAT", b"chatbot backup 1\n"), ("data/data.json", b"{}"), ("manifest.json", b"[]")],
        [("FORMAT", b"chatbot backup 1\n"), ("data/data.json", b"{}")],
    ):
        path = tmp_path / "x.tar"
        path.write_bytes(raw_archive([(_info(name), content) for name, content in entries]))
        assert refused(path) == "backup.broken"


@pytest.mark.parametrize("name", ["/a", "../a", "data/../a", "elsewhere", "data/a\x00", "data//a", "manifest.json/a"])
def test_what_would_be_refused_is_not_written(name: str) -> None:
    with pytest.raises(BrokenArchiveError):
        ArchiveWriter(io.BytesIO(), MOMENT).add(name, 0, io.BytesIO())


def test_a_source_that_ends_early_ends_the_writing() -> None:
    with pytest.raises(EOFError):
        ArchiveWriter(io.BytesIO(), MOMENT).add("data/a", 5, io.BytesIO(b"four"))


def test_long_and_foreign_names_and_sizes_beyond_octal_are_read_back() -> None:
    moment = int(MOMENT.timestamp())
    for name, size in (("data/" + "n" * 200, 1), ("data/ü", 0), ("data/x", 8**11), ("data/" + "ß" * 300, 8**12)):
        raw = archive_tar.header(name, size, moment)
        assert len(raw) % BLOCK == 0
        assert next(Reader(io.BytesIO(raw + b"\0" * BLOCK)).entries()) == (name, size)
        info = tarfile.TarFile(fileobj=io.BytesIO(raw)).next() if size < 2 else None
        assert info is None or (info.name, info.size) == (name, size)


@given(st.text(min_size=1, max_size=300), st.integers(0, 8**13))
def test_a_header_is_read_back_or_its_name_refused(name: str, size: int) -> None:
    try:
        archive_tar.check_name(name)
    except BrokenArchiveError:
        return
    raw = archive_tar.header(name, size, 5)
    reader = Reader(io.BytesIO(raw + b"\0" * 2 * BLOCK))
    if name != "SHA256":
        assert next(reader.entries()) == (name, size)


@given(st.binary(max_size=4096))
def test_arbitrary_bytes_never_break_the_reader(raw: bytes) -> None:
    reader = Reader(io.BytesIO(raw))
    with pytest.raises(BrokenArchiveError):
        for _ in reader.entries():
            for _ in reader.content():
                pass


def unpacked(stream: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        return {each.name: (tar.extractfile(each) or io.BytesIO()).read() for each in tar.getmembers()}


def test_a_stream_has_what_is_below_a_prefix_and_the_first_first(good: Path) -> None:
    out = io.BytesIO()
    archive.verify(good).stream("data/", out)
    got = unpacked(out.getvalue())
    assert list(got) == ["data.json", "mongo/messages.bson.gz", "mongo/messages.metadata.json"]
    assert got == {name.removeprefix("data/"): raw for name, raw in members().items() if name.startswith("data/")}
    settings = io.BytesIO()
    archive.verify(good).stream("settings/", settings)
    assert list(unpacked(settings.getvalue())) == [".env", "secrets/mongo_password"]


def test_an_archive_that_changes_after_it_was_verified_gives_no_whole_stream(tmp_path: Path) -> None:
    large = random.Random(2).randbytes(3 * 2**20)
    content = {**members(), "data/mongo/files.bson.gz": gzip.compress(large, mtime=0)}
    path = write(tmp_path / "large.tar", content)
    found = archive.verify(path)
    raw = bytearray(path.read_bytes())
    raw[2 * 2**20] ^= 1
    path.write_bytes(raw)
    out = io.BytesIO()
    with pytest.raises(Failure, match=r"backup\.broken.*has changed since"):
        found.stream("data/", out)
    with pytest.raises(tarfile.TarError):
        unpacked(out.getvalue())
    with pytest.raises(Failure, match=r"backup\.broken"):
        found.read("data/mongo/files.bson.gz")


def test_documents_that_are_not_what_mongodb_gave_are_found_although_the_archive_is_whole(tmp_path: Path) -> None:
    other = write(tmp_path / "other.tar", members(gzip.compress(BSON[:-1] + b"c", mtime=0)))
    assert archive.verify(other)
    assert refused(other, deep=True) == "backup.broken"


@pytest.mark.parametrize("size", [0, 1, 4 * 2**20, 4 * 2**20 + 1, 9 * 2**20])
@pytest.mark.parametrize("parts", [1, 3])
def test_packed_collections_of_any_size_and_number_of_parts_are_compared(size: int, parts: int) -> None:
    raw = bytes(size)
    step = size // parts + 1
    packed = b"".join(gzip.compress(raw[at : at + step], mtime=0) for at in range(0, max(size, 1), step))
    contents = archive_bson.Contents()
    for at in range(0, len(packed), 700):
        contents.take("data/mongo/a%2Fb.bson.gz", packed[at : at + 700])
    contents.compare(json.loads(told({"a/b": raw})))
    with pytest.raises(BrokenArchiveError, match="not what MongoDB gave"):
        contents.compare(json.loads(told({"a/b": raw + b"x"})))
    with pytest.raises(BrokenArchiveError, match="other collections"):
        contents.compare(json.loads(told({"a/b": raw, "missing": b""})))


def test_a_packed_collection_that_is_cut_off_or_no_gzip_is_found() -> None:
    contents = archive_bson.Contents()
    contents.take("data/mongo/a.bson.gz", gzip.compress(b"x" * 100)[:-4])
    with pytest.raises(BrokenArchiveError, match="cut off"):
        contents.compare({"collections": {"a": {}}})
    with pytest.raises(BrokenArchiveError, match="unpacked"):
        archive_bson.Contents().take("data/mongo/a.bson.gz", b"no gzip")
