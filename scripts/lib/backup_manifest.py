"""What a backup says of itself: program, sources, and the model files that it does not hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from scripts.lib import dotenv, log, paths, records, resolve, shell
from scripts.lib.archive import Manifest, ModelFile
from scripts.lib.download import sha256_of
from scripts.lib.settings import Settings

# Checksums of files that the operator put there: gigabytes, read once.
_SUMS = paths.STATE / "model-sums.json"


def manifest(project: str, wanted: Settings, made_at: datetime) -> Manifest:
    """All but the members, which the writer knows."""
    return Manifest(
        project=project,
        made_at=made_at,
        version=version(),
        commit=commit(),
        sources=resolve.earlier().get("SOURCES_RESOLVED", ""),
        models=tuple(models(wanted)),
    )


def version() -> str:
    """The program's version, as proxy/pyproject.toml has it; "" where there is none."""
    text = (paths.ROOT / "proxy" / "pyproject.toml").read_text(encoding="utf-8")
    found = [line for line in text.splitlines() if line.startswith("version")]
    return found[0].partition("=")[2].strip().strip('"') if found else ""


def commit() -> str:
    """The commit that is checked out; "" where git does not tell."""
    # Of a folder that belongs to somebody else git tells nothing unless it is named as safe.
    words = ["git", "-c", f"safe.directory={paths.ROOT}", "-C", str(paths.ROOT), "rev-parse", "HEAD"]
    return shell.output(words) or ""


def models(wanted: Settings, folder: Path = paths.MODELS) -> Iterator[ModelFile]:
    """The files in models/ that this appliance uses."""
    values = resolve.earlier()
    named = [values.get("MODEL_FILE", ""), Path(values.get("MMPROJ_RESOLVED", "")).name]
    # Adapters come with their scale behind a colon.
    named += [Path(part.partition(":")[0]).name for part in values.get("LORA_RESOLVED", "").split(",")]
    files = [folder / name for name in named if name and (folder / name).is_file()]
    for setting in ("EMBEDDING_MODEL", "RERANKER_MODEL"):
        if wanted[setting]:
            files += sorted(path for path in (folder / wanted[setting]).rglob("*") if path.is_file())
    known = records.read(folder)
    for path in dict.fromkeys(files):
        name = path.relative_to(folder).as_posix()
        record = known.get(name)
        if record and records.unchanged(folder, [name]):
            yield ModelFile(name, record.size, record.sha256, record.source, record.commit)
        else:
            yield ModelFile(name, path.stat().st_size, _sum(path, name))


def _sum(path: Path, name: str, file: Path = _SUMS) -> str:
    """The SHA-256 of a file, worked out when its size or time is another one than before."""
    state = path.stat()
    seen = [state.st_size, state.st_mtime_ns]
    try:
        sums = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        sums = {}
    if (sums.get(name) or [None, None])[:2] != seen:
        log.info(f"working out the checksum of {name}, once")
        sums[name] = [*seen, sha256_of(path)]
        if file.parent.is_dir() and os.access(file.parent, os.W_OK):
            dotenv.write_private(file, json.dumps(sums, indent=1) + "\n")
    return str(sums[name][2])
