"""What is not carried: the finding says why and what to do, and nothing claims to be whole."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.lib.native import free_port, wait_or_kill
from tests.integration.proxy.data.place import Place, archive, changed


def _refused(done: subprocess.CompletedProcess[bytes], finding: str) -> str:
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert said.startswith(f"{finding}: ")
    assert said.count("\n  -> ") == 1
    assert b"data.json" not in done.stdout
    return said


# --- dump -------------------------------------------------------------------------------------------------------------


def test_a_place_that_was_never_used(blank: Place) -> None:
    assert "no schema" in _refused(blank.data("dump"), "backup.store_empty")
    with blank.database.opened() as database:
        assert database["schema"].find_one({})
    assert "no API key" in _refused(blank.data("dump"), "backup.store_empty")


def test_looking_changes_nothing(blank: Place) -> None:
    """A proxy brings the schema up to date when it connects; what carries all of it away must not."""
    blank.data("dump")
    blank.data("compare", given=b"{}")
    assert blank.collections == []


def test_a_kind_that_nobody_made_here(used: Place) -> None:
    used.mongo.create_collection("log", capped=True, size=65536)
    try:
        assert "log is a capped collection" in _refused(used.data("dump"), "backup.kind_unknown")
    finally:
        used.mongo["log"].drop()


def test_chroma_away(used: Place) -> None:
    used.stack.stop("chroma", kill=True)
    try:
        _refused(used.data("dump"), "backup.vectors_unavailable")
    finally:
        used.stack.start("chroma")


def test_embeddings_away(used: Place) -> None:
    _refused(used.data("dump", EMBEDDINGS_URL="http://127.0.0.1:9"), "backup.vectors_unavailable")


def test_a_mongod_that_stands_alone(used: Place, alone: str) -> None:
    done = used.data("dump", MONGO_URL=alone, MONGO_USER="", MONGO_PASSWORD_FILE="")
    assert "`make up`" in _refused(done, "backup.no_snapshot")


def test_mongod_killed_in_the_middle(used: Place, filled: None) -> None:
    dump = used.begun("dump")
    assert dump.stdout is not None
    dump.stdout.read(1 << 20)
    used.stack.stop("mongo", kill=True)
    try:
        begun = time.monotonic()
        rest, said = dump.communicate(timeout=60)
        assert time.monotonic() - begun < 30
        assert dump.returncode == 1
        assert said.startswith(b"backup.storage_unavailable: MongoDB: ")
        assert b"data.json" not in rest
    finally:
        used.stack.start("mongo")


def test_the_reader_goes(used: Place, filled: None) -> None:
    dump = used.begun("dump")
    assert dump.stdout is not None and dump.stderr is not None
    dump.stdout.read(1 << 20)
    dump.stdout.close()
    assert dump.wait(timeout=30) == 1
    assert dump.stderr.read().startswith(b"backup.reader_gone: ")


def test_the_reader_goes_and_somebody_else_takes_what_is_written(used: Place, filled: None) -> None:
    """As in a container: Docker reads on. The dump goes by its stdin, which its reader holds open."""
    dump = used.begun("dump")
    assert dump.stdin is not None and dump.stdout is not None and dump.stderr is not None
    dump.stdin.write(b"\n")
    dump.stdin.flush()
    dump.stdout.read(1 << 20)
    dump.stdin.close()
    begun = time.monotonic()
    rest = dump.stdout.read()
    assert dump.wait(timeout=30) == 1
    assert time.monotonic() - begun < 10
    assert b"data.json" not in rest
    assert dump.stderr.read().startswith(b"backup.reader_gone: ")


def test_a_reader_that_stays_gets_all_of_it(used: Place, filled: None) -> None:
    dump = used.begun("dump")
    assert dump.stdin is not None and dump.stdout is not None
    dump.stdin.write(b"\n")
    dump.stdin.flush()
    assert b"data.json" in dump.stdout.read()
    assert dump.wait(timeout=30) == 0


def test_a_dump_that_is_stopped(used: Place, filled: None) -> None:
    dump = used.begun("dump")
    assert dump.stdout is not None
    dump.stdout.read(1 << 20)
    dump.terminate()
    assert dump.wait(timeout=10) == -signal.SIGTERM
    assert b"data.json" not in dump.stdout.read()
    assert used.data("dump").returncode == 0


# --- load -------------------------------------------------------------------------------------------------------------


def test_a_place_that_is_in_use(used: Place, blank: Place) -> None:
    members = used.dumped()
    before = used.raw()
    _refused(used.data("load", given=archive(members)), "restore.not_empty")
    assert used.raw() == before
    blank.chroma.put("shop", {"a": [1.0, 0.0]})
    assert "Chroma" in _refused(blank.data("load", given=archive(members)), "restore.not_empty")
    assert blank.collections == []


def test_a_worker_at_work(used: Place, blank: Place) -> None:
    from chatproxy.adapters.sole_worker import SoleWorker

    holder = SoleWorker(blank.settings.words_dir)
    try:
        _refused(blank.data("load", given=archive(used.dumped())), "restore.worker_runs")
    finally:
        os.close(holder._descriptor)


def test_an_archive_that_is_not_as_it_was(used: Place, blank: Place) -> None:
    members = used.dumped()
    told = json.loads(members["data.json"])
    bson = bytearray(gzip.decompress(members["mongo/keys.bson.gz"]))
    at = bson.index(b"widget")
    bson[at] ^= 1
    vectors = gzip.decompress(members["vectors/files.jsonl.gz"]).splitlines(keepends=True)
    shorter = archive(members)[: len(archive(members)) // 2]
    cases: list[tuple[bytes, str]] = [
        (changed(members, "mongo/keys.bson.gz", gzip.compress(bytes(bson))), "keys has 1 documents"),
        (changed(members, "mongo/keys.bson.gz", members["mongo/keys.bson.gz"][:-9]), "cannot be read"),
        (changed(members, "mongo/keys.bson.gz", gzip.compress(bytes(bson)[:-3])), "in the middle of a document"),
        (changed(members, "mongo/keys.bson.gz", None), "data.json tells of keys"),
        (changed(members, "vectors/files.jsonl.gz", gzip.compress(b"".join(vectors[:-1]))), "files has 57 vectors"),
        (changed(members, "mongo/../keys.txt", b""), "no part of the data"),
        (changed(members, "data.json", json.dumps({**told, "schema": "9"}).encode()), "data.json cannot be read"),
        (changed(members, "data.json", None), "before data.json"),
        (shorter, ""),
        (b"", "not whole"),
    ]
    for given, said in cases:
        blank.emptied()
        assert said in _refused(blank.data("load", given=given), "restore.archive_broken")
        # Whatever was brought, it does not pass for a database.
        assert blank.mongo["schema"].find_one({}) is None


@pytest.mark.parametrize("newer", [{"schema": 10_000}, {"format": 2}])
def test_an_archive_of_a_newer_program(used: Place, blank: Place, newer: dict[str, Any]) -> None:
    members = used.dumped()
    told = {**json.loads(members["data.json"]), **newer}
    given = changed(members, "data.json", json.dumps(told).encode())
    assert "`make upgrade`" in _refused(blank.data("load", given=given), "restore.newer")
    assert blank.collections == []


# --- done -------------------------------------------------------------------------------------------------------------


def test_a_finished_backup_is_noted(used: Place) -> None:
    assert used.data("done", "20261122T081500Z").returncode == 0
    assert used.mongo["operations"].find_one({"_id": "backup"})["finished_at"].isoformat() == "2026-11-22T08:15:00"
    _refused(used.data("done", "yesterday"), "backup.moment_invalid")
    _refused(used.data("done", "2026-11-22T08:15:00"), "backup.moment_invalid")
    used.mongo["operations"].delete_one({"_id": "backup"})


@pytest.fixture
def filled(used: Place) -> Iterator[None]:
    """More than fits pipes and one batch."""
    filler = used.mongo["aa filler"]
    filler.insert_many([{"_id": number, "bytes": os.urandom(1 << 20)} for number in range(40)])
    yield
    used.mongo["aa filler"].drop()


@pytest.fixture
def alone(tmp_path: Path, used: Place) -> Iterator[str]:
    """As MongoDB ran in earlier versions of this program, with data."""
    port = free_port()
    mongod = used.stack.services["mongo"].environment["MONGOD"]
    words = [mongod, "--dbpath", str(tmp_path), "--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        process.terminate()
        wait_or_kill(process, 20)
