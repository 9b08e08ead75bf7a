"""One file over HTTP, resumed where it broke off, retried, and checked before anybody sees it."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from scripts.lib import log
from scripts.lib.failure import Failure

# (bytes so far, bytes in all or 0 where the server does not say)
Progress = Callable[[int, int], None]

_CHUNK = 1 << 18
_READ_TIMEOUT_S = 30.0
# Attempts in a row that bring nothing; one that brings bytes starts the count again.
_FRUITLESS_ATTEMPTS = 6


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def download(
    url: str,
    target: Path,
    sha256: str,
    progress: Progress = lambda done, total: None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Put what `url` holds at `target`. What has arrived waits in `target`.part, for this run and for the next.

    Failure `download.checksum` when the whole file is not the one expected (it is thrown away then),
    `download.failed` when the server stays away, `disk.full` when there is no room.
    """
    part = target.with_name(target.name + ".part")
    resumed = part.exists()
    _until_whole(url, part, progress, pause)
    if sha256_of(part) != sha256 and resumed:
        # An older or damaged beginning: once more from the start before blaming the server.
        part.unlink()
        _until_whole(url, part, progress, pause)
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise Failure(
            "download.checksum",
            f"{target.name} arrived with SHA-256 {found[:16]}..., expected {sha256[:16]}...; it was thrown away",
            "try again; if it stays so, something between here and its home changes files",
        )
    part.replace(target)


def _until_whole(url: str, part: Path, progress: Progress, pause: Callable[[float], None]) -> None:
    fruitless = 0
    while True:
        before = _length(part)
        try:
            _continue(url, part, progress)
        except urllib.error.HTTPError as error:
            problem: Exception = error
            if error.code in (401, 403, 404, 410):
                raise Failure(
                    "download.failed", f"{part.stem}: the server answered {error.code}", "try again later"
                ) from error
        except (http.client.HTTPException, OSError) as error:
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


def _continue(url: str, part: Path, progress: Progress) -> None:
    """Append what is missing. Raises OSError or HTTPException when the connection ends too early."""
    have = _length(part)
    # The address is pip's, and what comes from there is checked against the catalogue's SHA-256.
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=_READ_TIMEOUT_S, context=_tls())  # noqa: S310
    except urllib.error.HTTPError as error:
        # Range not satisfiable: nothing is missing any more, or the part is longer than the file. The checksum decides.
        if error.code == 416 and have:
            error.close()
            return
        raise
    with response:
        if have and response.status != 206:
            have = 0
        length = int(response.headers.get("Content-Length") or 0)
        total = have + length if length else 0
        with part.open("ab" if have else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress(have, total)
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
