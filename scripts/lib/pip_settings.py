"""What the host's pip has been told (environment and pip.conf), so that image builds can use the same."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from scripts.lib import paths


def config_files(home: Path | None = None) -> tuple[Path, ...]:
    """pip's configuration files, the weakest first (pip's documentation, "Configuration files")."""
    home = home or Path.home()
    return (Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf")


def value(name: str, environ: Mapping[str, str] = os.environ, files: Iterable[Path] | None = None) -> str:
    """One of pip's settings by its long name (`find-links`); "" where nobody set it."""
    from_environment = environ.get("PIP_" + name.upper().replace("-", "_"))
    if from_environment is not None:
        return from_environment
    found = ""
    for file in files if files is not None else config_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip itself will complain about it in words that fit
        for section in ("global", "install"):
            found = parser.get(section, name, fallback=found)
    return found


def wheel_folders(find_links: str | None = None) -> list[Path]:
    """The local folders among pip's `find-links`."""
    entries = (value("find-links") if find_links is None else find_links).split()
    folders = [Path(unquote(urlsplit(e).path) if e.startswith("file:") else e).expanduser() for e in entries]
    return [folder for folder in folders if folder.is_dir()]


def torch_wheels(folders: Sequence[Path] | None = None, version: str | None = None) -> list[Path]:
    """Wheels of the pinned torch that fit the images (CPython 3.11, Linux on x86-64), CPU builds first."""
    pinned = version or torch_version()
    pattern = re.compile(rf"torch-{re.escape(pinned)}(\+\w+)?-cp311-cp311-\w*linux\w*_x86_64\.whl")
    found = (p for folder in (wheel_folders() if folders is None else folders) for p in _files(folder))
    return sorted((p for p in found if pattern.fullmatch(p.name)), key=lambda p: ("+cpu" not in p.name, p.name))


def torch_version() -> str:
    """The version that the embeddings image pins."""
    text = (paths.IMAGES / "embeddings" / "requirements.in").read_text(encoding="utf-8")
    match = re.search(r"(?m)^torch==([^\s;+]+)", text)
    return match[1] if match else ""


def _files(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except OSError:
        return
