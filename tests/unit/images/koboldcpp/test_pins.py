"""pins.tsv names one commit for each backend that the Dockerfile can build."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[4] / "images" / "koboldcpp"


def test_every_backend_has_a_full_commit() -> None:
    lines = [line.split("\t") for line in (FOLDER / "pins.tsv").read_text().splitlines() if not line.startswith("#")]
    stages = re.findall(r"AS runtime-(\w+)", (FOLDER / "Dockerfile").read_text())
    assert sorted(backend for backend, _, _ in lines) == sorted(stages)
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for _, _, commit in lines)
