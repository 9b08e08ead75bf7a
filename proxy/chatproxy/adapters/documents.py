"""Reads documents in a child process: what a hostile or broken file does to its reader stays there.

The child (documents_child.py) has limits on memory, processor time, wall time and output, no network, an empty folder
for its files, and is ended together with its own children. Its libraries are the worker image's alone: this module
needs none of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chatproxy.core.knowledge import Block, Document, DocumentCode, DocumentError

_log = logging.getLogger(__name__)
_PACKAGES = Path(__file__).resolve().parents[2]
_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading one document may take. Bytes and seconds; `characters` bounds the text that comes of it.

    `memory` holds for the child and for each OCR process of its own.
    """

    file: int = 100 << 20
    memory: int = 512 << 20
    cpu_s: int = 120
    wall_s: float = 300.0
    characters: int = 16_000_000


class Documents:
    """Implements core.ports.Parser."""

    def __init__(self, limits: Limits | None = None, *, ocr_languages: str = "eng") -> None:
        """`ocr_languages` are tesseract's names joined by `+`; those not installed are left out, with a warning."""
        self._limits, self._languages = limits or Limits(), ocr_languages

    def parse(self, path: Path, media_type: str, name: str) -> Document:
        """See core.ports.Parser. Several may run at a time, each in a child of its own."""
        self._check_size(path)
        order = {
            "path": str(path.resolve()),
            "media_type": media_type,
            "name": name,
            "languages": self._languages,
            **asdict(self._limits),
        }
        with tempfile.TemporaryDirectory(prefix="document-") as folder, _started(order, folder) as child:
            said = self._hear(child)
            # It has said all it will say; a child that does not end then is ended.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
            status = child.poll()
        if said is None:
            raise DocumentError("document_too_large", "There is too much text in the file. Please split it.")
        if not said:
            raise self._died(status)
        return _understood(said)

    def _check_size(self, path: Path) -> None:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DocumentError("document_broken", f"The file cannot be opened: {error.strerror}.") from None
        if not size:
            raise DocumentError("document_empty", "The file is empty.")
        if size > self._limits.file:
            most = self._limits.file >> 20
            raise DocumentError("document_too_large", f"The file is larger than {most} MB. Please split it.")

    def _hear(self, child: subprocess.Popen[bytes]) -> bytes | None:
        """All that the child says; None where that is too much. Raises DocumentError where it takes too long."""
        assert child.stdout is not None  # noqa: S101 - Popen was asked for a pipe
        # JSON writes a character as 6 bytes at most, \uXXXX; rows and names add little to that.
        left, pieces = self._limits.characters * 8 + _READ, list[bytes]()
        until = time.monotonic() + self._limits.wall_s
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise self._timed_out()
                piece = os.read(child.stdout.fileno(), _READ)
                if not piece:
                    return b"".join(pieces)
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    return None

    def _died(self, status: int | None) -> DocumentError:
        """What it means that the child ended, or was ended, without a word."""
        _log.warning("a document's reader ended with status %s", status)
        if status is None or -status == signal.SIGXCPU:
            return self._timed_out()
        return DocumentError(
            "document_broken",
            f"The file is damaged, or needs more than {self._limits.memory >> 20} MB of memory: its reader broke down.",
        )

    def _timed_out(self) -> DocumentError:
        return DocumentError(
            "document_timed_out",
            f"Reading the file took longer than {self._limits.wall_s:.0f} s "
            f"({self._limits.cpu_s} s of processor time). Please split it.",
        )


@contextlib.contextmanager
def _started(order: dict[str, Any], folder: str) -> Iterator[subprocess.Popen[bytes]]:
    """The child, in a session of its own; at the end all that is left of that session is killed."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(_PACKAGES),
        "LANG": "C.UTF-8",
        "HOME": folder,
        "TMPDIR": folder,
        "OMP_THREAD_LIMIT": "1",  # tesseract's threads cost more than they give
        **({"TESSDATA_PREFIX": os.environ["TESSDATA_PREFIX"]} if "TESSDATA_PREFIX" in os.environ else {}),
    }
    # -P: the folder that it stands in is no place to import from.
    words = [sys.executable, "-P", "-s", "-B", "-m", "chatproxy.adapters.documents_child", json.dumps(order)]
    child = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libraries quote what they read, which belongs in no log
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        # The group outlives its leader for as long as it has members, and its number is not given away before the wait.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdout:
            child.stdout.close()


def _understood(said: bytes) -> Document:
    """The child's word, trusted no more than the file: its types are checked."""
    try:
        fields = json.loads(said)
        if "error" in fields:
            code: DocumentCode = fields["error"]["code"]
            if detail := fields["error"].get("detail"):
                _log.warning("a document's reader failed with %s", detail)
            raise DocumentError(code, str(fields["error"]["public"]))
        blocks = tuple(
            Block(kind, str(text), int(level), tuple(tuple(map(str, row)) for row in rows), page, str(anchor))
            for kind, text, level, rows, page, anchor in fields["blocks"]
        )
        return Document(
            str(fields["title"]), blocks, str(fields["language"]), str(fields["canonical"]), tuple(fields["warnings"])
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DocumentError("document_broken", "The file is damaged: its reader broke down.") from None
