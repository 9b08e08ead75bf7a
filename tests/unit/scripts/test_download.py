"""A download over a connection that breaks, lies or ends: whole and right in the end, or a failure and no file."""

from __future__ import annotations

import hashlib
import http.server
import os
import random
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.lib.download import Expected, Ticker, download
from scripts.lib.failure import Failure

BODY = random.Random(7).randbytes(1_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Mirror:
    """A real HTTP server with one file. `cuts` are the lengths after which it drops the next answers' connections."""

    url: str
    body: bytes = BODY
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    status: int = 200
    asked: list[str] = field(default_factory=list)


def _handler(mirror: Mirror) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            mirror.asked.append(wanted)
            if mirror.status != 200:
                self.send_error(mirror.status)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and mirror.ranges else 0
            if start >= len(mirror.body):
                self.send_error(416)
                return
            rest = mirror.body[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: mirror.cuts.pop(0)] if mirror.cuts else rest)
            self.wfile.flush()
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    made = Mirror("")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(made)) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}/file.whl"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made
        server.shutdown()


@pytest.fixture
def get(mirror: Mirror, tmp_path: Path) -> Callable[..., Path]:
    def run(sha256: str = SHA256) -> Path:
        target = tmp_path / "file.whl"
        download(mirror.url, target, Expected(sha256=sha256), pause=lambda seconds: None)
        return target

    return run


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def test_a_file_arrives_whole(get: Callable[..., Path]) -> None:
    target = get()
    assert target.read_bytes() == BODY
    assert not _part(target).exists()


@pytest.mark.parametrize("percent", range(0, 100, 10))
def test_a_cut_is_resumed_where_it_happened(mirror: Mirror, get: Callable[..., Path], percent: int) -> None:
    cut = len(BODY) * percent // 100
    mirror.cuts = [cut]
    assert get().read_bytes() == BODY
    assert mirror.asked == ["", f"bytes={cut}-" if cut else ""]


def test_a_connection_that_is_cut_every_tenth_of_the_way_still_arrives(
    mirror: Mirror, get: Callable[..., Path]
) -> None:
    mirror.cuts = [len(BODY) // 10] * 9
    assert get().read_bytes() == BODY
    assert len(mirror.asked) == 10


def test_what_an_earlier_run_left_is_used(mirror: Mirror, get: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file.whl.part").write_bytes(BODY[:400_000])
    assert get().read_bytes() == BODY
    assert mirror.asked == ["bytes=400000-"]


def test_a_whole_part_is_only_checked(mirror: Mirror, get: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file.whl.part").write_bytes(BODY)
    assert get().read_bytes() == BODY


def test_a_damaged_part_is_fetched_anew(mirror: Mirror, get: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file.whl.part").write_bytes(b"x" * 400_000)
    assert get().read_bytes() == BODY
    assert mirror.asked == ["bytes=400000-", ""]


def test_a_part_longer_than_the_file_is_fetched_anew(get: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file.whl.part").write_bytes(BODY + b"more")
    assert get().read_bytes() == BODY


def test_a_server_without_ranges_starts_over(mirror: Mirror, get: Callable[..., Path]) -> None:
    mirror.ranges = False
    mirror.cuts = [500_000]
    assert get().read_bytes() == BODY


def test_a_page_that_comes_instead_does_not_cost_what_has_arrived(mirror: Mirror, tmp_path: Path) -> None:
    target, expected = tmp_path / "file.whl", Expected(len(BODY), SHA256)
    _part(target).write_bytes(BODY[:400_000])
    mirror.body, mirror.ranges = b"<html>please log in</html>", False
    with pytest.raises(Failure) as raised:
        download(mirror.url, target, expected, pause=lambda seconds: None)
    assert raised.value.id == "download.failed" and "something of 26 bytes" in raised.value.fact
    assert _part(target).read_bytes() == BODY[:400_000]
    mirror.body, mirror.ranges = BODY, True
    download(mirror.url, target, expected, pause=lambda seconds: None)
    assert target.read_bytes() == BODY


def test_a_wrong_checksum_leaves_nothing(get: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(Failure) as raised:
        get("0" * 64)
    assert raised.value.id == "download.checksum"
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_only_drops_is_given_up_on_and_the_part_kept(
    mirror: Mirror, get: Callable[..., Path], tmp_path: Path
) -> None:
    mirror.cuts = [300_000] + [0] * 50
    with pytest.raises(Failure) as raised:
        get()
    assert raised.value.id == "download.failed"
    assert [path.name for path in tmp_path.iterdir()] == ["file.whl.part"]
    mirror.cuts = []
    assert get().read_bytes() == BODY


def test_a_file_that_is_gone_is_not_asked_for_again(mirror: Mirror, get: Callable[..., Path]) -> None:
    mirror.status = 404
    with pytest.raises(Failure) as raised:
        get()
    assert raised.value.id == "model.source_gone"
    assert len(mirror.asked) == 1


def test_a_server_error_is_tried_again(mirror: Mirror, get: Callable[..., Path]) -> None:
    mirror.status = 503
    with pytest.raises(Failure):
        get()
    assert len(mirror.asked) > 3


def test_a_full_disk_is_said_at_once_and_the_part_is_kept(mirror: Mirror, get: Callable[..., Path]) -> None:
    """On a real file system of 300 KB, which only root can mount."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    with small_disk(300 * 1024) as folder:
        with pytest.raises(Failure) as raised:
            download(mirror.url, folder / "file.whl", Expected(sha256=SHA256), pause=lambda seconds: None)
        assert raised.value.id == "disk.full"
        assert [path.name for path in folder.iterdir()] == ["file.whl.part"]
    assert len(mirror.asked) == 1


@contextmanager
def small_disk(size: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", name], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", name], check=True)


def test_progress_without_a_terminal_is_a_plain_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    tick = Ticker("model", every_s=0.0, plain=True)
    tick(50, 200)
    tick(200, 200)
    lines = capsys.readouterr().err.splitlines()
    assert [line.strip().partition(",")[0] for line in lines] == ["model:  25 % of 200 B", "model: 100 % of 200 B"]
    quiet = Ticker("model", every_s=60.0, plain=True)
    quiet(50, 200)
    assert capsys.readouterr().err == ""
