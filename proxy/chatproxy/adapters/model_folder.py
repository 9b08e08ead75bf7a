"""The folder models/: its catalogue, and its files with what their heads tell."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chatproxy.adapters.gguf import read_model
from chatproxy.core.fitting import Shape
from chatproxy.core.models import CHAT, ModelFacts, ModelFile, Offer
from chatproxy.errors import ConfigurationError

_WEIGHTS = (".gguf", ".ggml", ".bin")
_MEMORY = Path("/proc/meminfo")
_Stamp = tuple[int, int]


class ModelFolder:
    """Implements core.models.ModelShelf. Thread-safe.

    A head takes up to some seconds to read, so that is done behind, one file after another, and remembered until the
    file changes.
    """

    def __init__(
        self, folder: Path, *, read: Callable[..., ModelFacts | None] = read_model, meminfo: Path = _MEMORY
    ) -> None:
        self._folder, self._read, self._meminfo = folder, read, meminfo
        self._lock = threading.Lock()
        self._known: dict[str, tuple[_Stamp, ModelFile]] = {}
        self._waiting: list[Path] = []
        self._reading = False

    def catalogue(self) -> Sequence[Offer]:
        """See core.models.ModelShelf."""
        path = self._folder / "catalog.toml"
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8"))
            return [_offer(name, entry, self._folder) for name, entry in entries.items()]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path}: {error}") from None

    def files(self) -> Sequence[ModelFile]:
        """See core.models.ModelShelf."""
        try:
            found = sorted(path for path in self._folder.iterdir() if path.suffix.lower() in _WEIGHTS)
        except OSError:
            return []
        return [self._file(path, stamp) for path in found if (stamp := _stamp(path))]

    def memory(self) -> int | None:
        """See core.models.ModelShelf; inside a container too it is the machine's."""
        try:
            lines = self._meminfo.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        told = next((line.split() for line in lines if line.startswith("MemTotal:")), [])
        return int(told[1]) * 1024 if len(told) > 1 and told[1].isdigit() else None

    def _file(self, path: Path, stamp: _Stamp) -> ModelFile:
        with self._lock:
            known = self._known.get(path.name)
            if known and known[0] == stamp:
                return known[1]
            unread = ModelFile(path.name, stamp[1], read=False)
            self._known[path.name] = (stamp, unread)
            self._waiting.append(path)
            if not self._reading:
                self._reading = True
                threading.Thread(target=self._read_all, name="model-heads", daemon=True).start()
            return unread

    def _read_all(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._reading = False
                    return
                path = self._waiting.pop(0)
            stamp = _stamp(path)
            if stamp is None:
                continue
            facts, problem = None, ""
            try:
                facts = self._read(path, called=path.name)
            except ConfigurationError as error:
                problem = str(error)
            with self._lock:
                self._known[path.name] = (stamp, ModelFile(path.name, stamp[1], facts, problem))


def _stamp(path: Path) -> _Stamp | None:
    """What tells two versions of a file apart: its time in ns, and its size."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if path.is_file() else None


def _offer(name: str, entry: dict[str, Any], folder: Path) -> Offer:
    use = str(entry.get("use", CHAT))
    context = int(entry.get("context", 0))
    licence, good_for = str(entry.get("licence", "")), str(entry.get("good_for", ""))
    title, hub = str(entry["title"]), entry["source"]["kind"] == "hub"
    if use != CHAT:
        place = str(entry["folder"])
        there = (folder / place).is_dir()
        size = int(entry["size"])
        return Offer(name, title, place, size, "", context, licence, good_for, about=hub, use=use, there=there)
    files = {label: (str(given["file"]), int(given["size"])) for label, given in entry["files"].items()}
    default = str(entry["default"])
    file, size = files[default]
    return Offer(
        name,
        title,
        file,
        size,
        str(entry["format"]),
        context,
        licence,
        good_for,
        quantisation=default,
        files=files,
        about=hub and not entry["files"][default].get("sha256"),
        shape=Shape.published(entry["shape"], context) if "shape" in entry else None,
        projector=int(entry["projector"]["size"]) if "projector" in entry else 0,
    )
