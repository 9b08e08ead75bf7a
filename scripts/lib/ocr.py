"""Text recognition for the tests: the distribution's own tesseract, as the worker's image has it."""

from __future__ import annotations

from scripts.lib import apt, log, shell

# English comes with it.
_PACKAGES = ("tesseract-ocr",)


def ensure() -> None:
    """Installs it where it is missing. Raises Failure where that cannot be done."""
    if shell.which("tesseract"):
        return
    log.step(f"installing {' and '.join(_PACKAGES)} for the tests of scanned pages")
    if not apt.available(_PACKAGES[0]):
        apt.update()
    apt.install(_PACKAGES)
