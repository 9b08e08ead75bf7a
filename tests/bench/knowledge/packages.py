"""Material that nobody here wrote: documentation as Debian packages it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from scripts.lib.native import ROOT

_CACHE = ROOT / ".dev" / "material"


class NoMaterial(Exception):
    """A package could not be had; the text says why."""


def unpacked(package: str) -> Path:
    """The folder with a package's files, fetched once; its name holds the version. Raises NoMaterial."""
    folder = _CACHE / package
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if not list(folder.glob("*.deb")):
            subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True, capture_output=True)
        (archive,) = folder.glob("*.deb")
        files = folder / archive.stem
        if not files.exists():
            half = folder / "unpacking"
            subprocess.run(["dpkg-deb", "-x", archive, half], check=True, capture_output=True)
            half.rename(files)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise NoMaterial(f"{package} cannot be fetched with apt-get: {error}") from None
    return files
