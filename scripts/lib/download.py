"""One file over HTTP, resumed where it broke off, retried, and checked before anybody sees it."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib import log
from scripts.lib.failure import Failure

# (bytes so far, bytes in all or 0 where the server does not say)
Progress = Callable[[int, int], None]

_CHUNK = 1 << 18
_READ_TIMEOUT_S = 30.0
# Attempts in a row that bring nothing; one that brings bytes starts the count again.
_FRUITLESS_ATTEMPTS = 6


@dataclass(frozen=True)
class Expected:
    """What a file has to be: size in bytes (0 = not known), and SHA-256 or, where the source tells no other checksum
    (small files in a repository), git's id of it."""

    size: int = 0
    sha256: str = ""
    blob: str = ""

    def wrong(self, path: Path) -> str:
        """What is wrong with the file at `path`, in words; "" when nothing is."""
        size = path.stat().st_size
        if self.size and size != self.size:
            return f"{size} bytes, expected {self.size}"
        found = sha256_of(path) if self.sha256 else _blob_of(path)
        wanted = self.sha256 or self.blob
        return "" if found == wanted else f"checksum {found[:16]}..., expected {wanted[:16]}..."


def sha256_of(path: Path) -> str:
    return _hashed(path, hashlib.sha256())


def _blob_of(path: Path) -> str:
    """Git's id of a file's content (git-hash-object)."""
    return _hashed(path, hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False))


def _hashed(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def download(
    url: str,
    target: Path,
    expected: Expected,
    progress: Progress = lambda done, total: None,
    pause: Callable[[float], None] = time.sleep,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Put what `url` holds at `target`. What has arrived waits in `target`.part, for this run and for the next.

    `headers` go to the server of `url` alone. Failure `download.checksum` when the whole file is not the one expected
    (it is thrown away then), `download.failed` when the server stays away, `model.gated` and `model.source_gone` when
    it refuses, `disk.full` when there is no room.
    """
    part = target.with_name(target.name + ".part")
    order = _Order(url, headers or {}, expected.size)
    missing = expected.size - _length(part)
    if missing > _free(part):
        raise no_space(part)
    resumed = part.exists()
    _until_whole(order, part, progress, pause)
    wrong = expected.wrong(part)
    if wrong and resumed:
        # An older or damaged beginning: once more from the start before blaming the server.
        part.unlink()
        _until_whole(order, part, progress, pause)
        wrong = expected.wrong(part)
    if wrong:
        part.unlink()
        raise Failure(
            "download.checksum",
            f"{target.name} arrived with {wrong}; it was thrown away",
            "try again; if it stays so, something between here and its home changes files",
        )
    part.replace(target)


def _free(path: Path) -> int:
    state = os.statvfs(path.parent)
    return state.f_bavail * state.f_frsize


@dataclass(frozen=True)
class _Order:
    """What is asked for; size is 0 where it is not known."""

    url: str
    headers: Mapping[str, str]
    size: int


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A storage that a hub leads to has its permission in its address, and must not see the hub's token."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """See urllib: it copies all headers but the unredirected ones."""
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and _home(newurl) == _home(req.full_url):
            for name, value in req.unredirected_hdrs.items():
                new.add_unredirected_header(name, value)
        return new


def _home(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


def _until_whole(order: _Order, part: Path, progress: Progress, pause: Callable[[float], None]) -> None:
    fruitless = 0
    while True:
        before = _length(part)
        if order.size and before >= order.size:
            return
        try:
            _continue(order, part, progress)
        except urllib.error.HTTPError as error:
            problem: Exception = error
            if error.code in (401, 403, 404, 410):
                raise _refused(part, error.code) from error
        except (http.client.HTTPException, OSError, ValueError) as error:  # the last for an address that is none
            if error_is_no_space(error):
                raise no_space(part) from error
            problem = error
        else:
            return
        fruitless = 0 if _length(part) > before else fruitless + 1
        if fruitless >= _FRUITLESS_ATTEMPTS:
            fact = f"{part.stem} could not be downloaded: {_in_words(problem)}"
            raise Failure("download.failed", fact, "run the command again; it goes on where it stopped") from problem
        pause(min(2.0**fruitless, 20.0) - 0.5)


def _refused(part: Path, status: int) -> Failure:
    if status in (401, 403):
        hint = "accept the model's licence on its page, and name a file with your access token in MODEL_TOKEN_FILE"
        return Failure("model.gated", f"{part.stem}: the server refuses it (it answered {status})", hint)
    hint = "try again later; if it stays so, choose another model"
    return Failure("model.source_gone", f"{part.stem}: it is not there any more (the server answered {status})", hint)


def _continue(order: _Order, part: Path, progress: Progress) -> None:
    """Append what is missing. Raises OSError or HTTPException when the connection ends too early."""
    have = _length(part)
    # The address is pip's or the model hub's, and what comes from there is checked against a known checksum.
    request = urllib.request.Request(order.url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310
    for name, value in order.headers.items():
        request.add_unredirected_header(name, value)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=_tls()), _Redirects)
    try:
        response = opener.open(request, timeout=_READ_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        # Range not satisfiable: nothing is missing any more, or the part is longer than the file. The checksum decides.
        if error.code == 416 and have:
            error.close()
            return
        raise
    with response:
        told = response.headers.get("Content-Length") or ""
        length = int(told) if told.isdecimal() else 0
        if have and response.status != 206:
            if order.size and length not in (0, order.size):
                # The page of something in between, which wants a login or forbids it: what has arrived is kept.
                raise ConnectionError(f"instead of the file's rest came something of {length} bytes")
            have = 0
        total = have + length if length else order.size
        with part.open("ab" if have else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress(have, total)
                if order.size and have > order.size:
                    break  # it is another file, and could go on for ever: the checksum says so
            file.flush()
            os.fsync(file.fileno())
    if total and have < total:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes")


def _tls() -> ssl.SSLContext:
    # The names that pip, requests and curl read; behind a TLS-inspecting proxy the operator has set one of them.
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        bundle = os.environ.get(name)
        if bundle and Path(bundle).is_file():
            return ssl.create_default_context(cafile=bundle)
    return ssl.create_default_context()


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _in_words(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(error).__name__


def error_is_no_space(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def no_space(path: Path) -> Failure:
    return Failure(
        "disk.full",
        f"the disk is full while writing {path.name} in {path.parent}",
        "free some space and run the command again; it goes on where it stopped",
    )


class Ticker:
    """Progress as a line that redraws itself on a terminal, and as a plain line every few seconds elsewhere."""

    def __init__(self, name: str, every_s: float = 5.0, plain: bool | None = None) -> None:
        self._name, self._every = name, every_s
        self._plain = log.plain() if plain is None else plain
        self._started = self._spoken = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        finished = total > 0 and done >= total
        if now - self._spoken < (self._every if self._plain else 0.2) and not finished:
            return
        self._spoken = now
        share = f"{100 * done // total:3d} % of {log.size(total)}" if total else log.size(done)
        rate = done / max(now - self._started, 0.1)
        text = f"{self._name}: {share}, {log.size(rate)}/s"
        if self._plain:
            log.info(text)
        else:
            log.redraw(text, last=finished)
