"""`make tune` on the real engine: started with other settings, timed from beside it, and gone afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.lib.trials import EngineTrial, NativeStarter
from scripts.lib.tuning import Knobs, TrialFailedError


def _engines() -> set[int]:
    """Processes of serve.py that this test run started."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {int(line.split()[0]) for line in listed if line.rstrip().endswith(f"{sys.executable} serve.py")}


def test_an_engine_is_timed_with_the_settings_that_are_tried_and_ended(starter_model: Path) -> None:
    before = _engines()
    starter = NativeStarter(sys.executable, starter_model, {"ENGINE_SLOTS": "2", "CONTEXT_SIZE": "512"})
    trial = EngineTrial(starter, visitors=2, context=512)
    figures = trial.measure(Knobs(1, 32, mmap=False))
    assert figures.prompt > 1 and figures.generated > 0.1 and figures.together > 0.1
    assert _engines() <= before


def test_an_engine_that_does_not_start_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "m.gguf"
    broken.write_bytes(b"GGUF")
    with pytest.raises(TrialFailedError, match="engine ended with code"):
        EngineTrial(NativeStarter(sys.executable, broken, {}), visitors=1, context=512).measure(Knobs(1, 32))
