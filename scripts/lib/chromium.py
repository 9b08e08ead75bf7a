"""The browser of the widget's tests: the distribution's own Chromium, or one that the environment names."""

from __future__ import annotations

import os
from pathlib import Path

from scripts.lib import apt, log, shell
from scripts.lib.failure import Failure

# A font too: without any, Chromium draws boxes and measures nothing.
_PACKAGES = ("chromium", "fonts-dejavu-core")
_NAMES = ("chromium", "google-chrome-stable", "google-chrome")
_HINT = "install a Chromium and name it, as `CHROMIUM=/opt/chromium/chrome make test`"


def ensure() -> Path:
    """The browser's executable; Debian's is installed where there is none. Failure `browser.missing`."""
    found = find()
    if found:
        return found
    log.step(f"installing {' and '.join(_PACKAGES)} for the widget's tests")
    if not apt.available(_PACKAGES[0]):
        apt.update()
    if not apt.available(_PACKAGES[0]):
        # Ubuntu has none but a snap's placeholder, which runs neither in containers nor without snapd.
        raise Failure("browser.missing", f"this distribution has no package {_PACKAGES[0]}", _HINT)
    apt.install(_PACKAGES)
    found = find()
    if not found:
        raise Failure("browser.missing", f"{_PACKAGES[0]} is installed, but there is no such program", _HINT)
    return found


def find() -> Path | None:
    """The executable, where there is one; CHROMIUM in the environment names it. Failure when it names nothing."""
    named = os.environ.get("CHROMIUM")
    if named and not os.access(named, os.X_OK):
        raise Failure("browser.missing", f"CHROMIUM={named} is no program", _HINT)
    paths = [named] if named else [shell.which(name) for name in _NAMES]
    return next((Path(path) for path in paths if path), None)
