"""Data of another MongoDB are told as such, in one line with the way out, instead of mongod's own pages."""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path

import pytest

from images.mongo import entrypoint
from images.mongo.entrypoint import Heard

SHELL = Path(entrypoint.__file__).with_name("entrypoint.sh")


def _line(number: int, message: str, /, **attributes: object) -> bytes:
    """In the form of mongod's log since 4.4."""
    head = f'{{"t":{{"$date":"2022-08-25T10:42:00.949+02:00"}},"s":"F",  "c":"CONTROL",  "id":{number},   '
    told = f'"ctx":"initandlisten","msg":{json.dumps(message)},"attr":{json.dumps(attributes, separators=(",", ":"))}}}'
    return f"{head}{told}\n".encode()


def build(version: str) -> bytes:
    return _line(23403, "Build Info", buildInfo={"version": version, "gitVersion": "c9a99c12", "modules": []})


def wrong(data: str, expected: str) -> bytes:
    """As 5.0 and later say it; of 6.0.5's own binary, and in docker-library/mongo's issue 557."""
    see = "See https://docs.mongodb.com/master/release-notes/5.0-compatibility/#feature-compatibility."
    document = f'{{ _id: "featureCompatibilityVersion", version: "{data}" }}. {see}'
    why = f"Invalid feature compatibility version value, expected {expected}. {see}"
    error = (
        "UPGRADE PROBLEM: Found an invalid featureCompatibilityVersion document (ERROR: Location4926900: Invalid "
        f"featureCompatibilityVersion document in admin.system.version: {document} :: caused by :: {why}). If the "
        "current featureCompatibilityVersion is below 5.0, see the documentation on upgrading at "
        "https://docs.mongodb.com/master/release-notes/5.0/#upgrade-procedures."
    )
    return _line(20573, "Wrong mongod version", error=error)


FILES = (
    "__log_open_verify, 925: unsupported WiredTiger file version: this build only supports versions up to 4, and the "
    "file is version 5: WT_ERROR: non-specific WiredTiger error"
)
OLD = "This version of MongoDB is too recent to start up on the existing data files. Try MongoDB 4.2 or earlier."
UNFINISHED = (
    "UPGRADE PROBLEM: The data files need to be fully upgraded to version 4.4 before attempting a binary upgrade"
)
CASES = [
    ("6.0.5", wrong("4.4", "'5.0' or '5.3' or '6.0"), "the data are of MongoDB 4.4, this is 6.0"),
    ("8.0.17", wrong("6.0", "'7.0' or '7.3' or '8.0"), "the data are of MongoDB 6.0, this is 8.0"),
    ("6.0.5", wrong("7.0", "'5.0' or '5.3' or '6.0"), "the data are of MongoDB 7.0, this is 6.0"),
    ("6.0.5", _line(4671205, OLD), "the data are of MongoDB 4.2 or older, this is 6.0"),
    ("6.0.5", _line(20573, "Wrong mongod version", error=UNFINISHED), "the data are of MongoDB 4.4, this is 6.0"),
    ("6.0.5", _line(20573, "Wrong mongod version", error="?"), "the data are of another MongoDB, this is 6.0"),
    ("6.0.5", _line(22435, "WiredTiger error", message=FILES), "the data are of a newer MongoDB, this is 6.0"),
]


@pytest.mark.parametrize(("own", "line", "told"), CASES)
def test_the_last_line_says_which_version_and_the_way(own: str, line: bytes, told: str) -> None:
    heard = Heard()
    for each in (b"{}\n", b"no JSON at all\n", build(own), line, _line(20565, "Now exiting")):
        heard.line(each)
    assert heard.why() == f"{told}: {entrypoint.OTHER_VERSION}"
    assert "make backup" in heard.why() and "make restore FROM=" in heard.why()


@pytest.mark.parametrize(
    "line", [b'{"id":20573, cut off', b'{"id":20573,"attr":[]}', b'{"id":23403,"attr":{"buildInfo":7}}', b"\xff\xfe"]
)
def test_nothing_is_said_of_versions_where_nothing_is_wrong_with_them(line: bytes) -> None:
    heard = Heard()
    for each in (build("6.0.5"), line, _line(20565, "Now exiting", exitCode=100)):
        heard.line(each)
    assert heard.why() == ""


def test_the_log_is_handed_on_as_it_comes() -> None:
    lines = [build("6.0.5"), b"\xff\n", wrong("4.4", "'5.0'"), b"the end"]
    sink, heard = io.BytesIO(), Heard()
    entrypoint.pass_on(io.BytesIO(b"".join(lines)), sink, heard)
    assert sink.getvalue() == b"".join(lines)
    assert heard.why()


@pytest.mark.parametrize(("own", "line", "told"), CASES)
def test_the_official_images_start_says_the_same(tmp_path: Path, own: str, line: bytes, told: str) -> None:
    """Its mongod is one that says these lines."""
    said = build(own) + line
    done = official(tmp_path, said, 62)
    assert (done.returncode, done.stdout) == (62, said)
    assert done.stderr.decode() == f"mongo: {told}: {entrypoint.OTHER_VERSION}\n"


@pytest.mark.parametrize(("code", "said"), [(0, wrong("4.4", "'5.0'")), (100, _line(20565, "Now exiting"))])
def test_the_official_images_end_is_mongods(tmp_path: Path, code: int, said: bytes) -> None:
    done = official(tmp_path, said, code)
    assert (done.returncode, done.stdout, done.stderr) == (code, said, b"")


def official(folder: Path, said: bytes, code: int) -> subprocess.CompletedProcess[bytes]:
    (folder / "said").write_bytes(said)
    (folder / "docker-entrypoint.sh").write_text(f'#!/bin/sh\ncat "{folder / "said"}"\nexit {code}\n')
    (folder / "docker-entrypoint.sh").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "MONGO_RUN": str(folder)}
    return subprocess.run(["bash", SHELL, "mongod"], env=environment, capture_output=True, check=False, timeout=30)
