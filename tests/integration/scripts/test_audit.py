"""`make audit` as it is, with its real tools."""

from __future__ import annotations

import os
import subprocess

import pytest

from scripts.lib import image_names, paths, pins, sbom


@pytest.mark.long
def test_every_finding_is_explained() -> None:
    """The advisories are left out: whether somebody answers about them is not this checkout's doing."""
    done = subprocess.run(
        [paths.ROOT / "scripts" / "audit"], env={**os.environ, "OFFLINE": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "NOT CHECKED: OFFLINE=1" in done.stderr
    assert {file.name.removesuffix(".cdx.json") for file in sbom.FOLDER.glob("*.cdx.json")} >= set(sbom.IMAGES)
    unpinned = pins.unpinned(image_names.places())
    assert done.stderr.count("pins.unpinned: ") == len(unpinned)
    assert ("NOT PINNED, see above: " in done.stderr) == bool(unpinned)
    assert "bandit: " in done.stderr and "checkov: " in done.stderr
