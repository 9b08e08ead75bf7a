"""What was verified in models/, and how each file looked then: later runs need to hash nothing, and see what changed.

models/.records.json holds, by file: size (bytes), mtime_ns, sha256, source (a repository of the model hub, or a
package), commit, and when it was verified (UTC). A file inside a folder is called FOLDER/PATH.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from scripts.lib.download import sha256_of

NAME = ".records.json"


@dataclass(frozen=True)
class Record:
    """A file that was whole and had the checksum of its source."""

    size: int
    mtime_ns: int
    sha256: str
    source: str = ""
    commit: str = ""
    verified: str = ""


def of(path: Path, *, sha256: str = "", source: str = "", commit: str = "") -> Record:
    """The record of a file that has just been verified; without `sha256` it is worked out."""
    state = path.stat()
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Record(state.st_size, state.st_mtime_ns, sha256 or sha256_of(path), source, commit, now)


def read(folder: Path) -> dict[str, Record]:
    """{file: Record}; empty where there are none, or they cannot be read."""
    try:
        told = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return {str(name): Record(**fields) for name, fields in told.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def put(folder: Path, records: Mapping[str, Record]) -> None:
    """Add these to those that there are, in one step. One writer at a time: see scripts.lib.fetch."""
    known = {name: record for name, record in read(folder).items() if (folder / name).exists()} | dict(records)
    descriptor, draft = tempfile.mkstemp(dir=folder, prefix=NAME)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({name: asdict(known[name]) for name in sorted(known)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    Path(draft).chmod(0o644)
    Path(draft).replace(folder / NAME)


def unchanged(folder: Path, names: Iterable[str], sha256: Mapping[str, str] | None = None) -> bool:
    """True when each of these files was verified and has neither size nor time changed since.

    `sha256` are checksums that they must have had, by name.
    """
    known = read(folder)
    for name in names:
        record = known.get(name)
        try:
            state = (folder / name).stat()
        except OSError:
            return False
        if record is None or (record.size, record.mtime_ns) != (state.st_size, state.st_mtime_ns):
            return False
        if (sha256 or {}).get(name) not in (None, "", record.sha256):
            return False
    return True


def in_folder(folder: Path, name: str) -> list[str]:
    """The records of a folder's files; [] for one that was never fetched."""
    return [file for file in read(folder) if file.startswith(f"{name}/")]
