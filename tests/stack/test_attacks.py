"""A thousand slow connections in front of the door: who chats notices nothing. `make bench ONLY=attacks` measures."""

from __future__ import annotations

import shutil

import pytest

from scripts.lib import apt
from tests.bench.composed import attacks, crowd, ledger, stack
from tests.stack.conftest import Appliance

pytestmark = pytest.mark.stack

_SECONDS = 12


@pytest.mark.parametrize("name", ["slow headers (-H)", "slow body (-B)"])
def test_who_dribbles_takes_nobodys_place(appliance: Appliance, name: str) -> None:
    if not shutil.which("slowhttptest"):
        apt.update()
        apt.install(["slowhttptest"])
    crowd.write_bots(appliance.folder)
    appliance.wait_healthy()
    asking = attacks.Asking(stack.line_to(appliance))
    try:
        asking.during(2)
        tool = attacks.slow("https://localhost", attacks.SLOW[name], _SECONDS + 5)
        outcomes = asking.during(_SECONDS)
        most, ended = attacks.connected(tool.communicate(timeout=90)[0])
    finally:
        asking.stop()
    print(f"{most} at once, {ended}; p95 of a question {attacks.p95(outcomes):.2f} s")
    assert most > attacks.CONNECTIONS / 2, "that was no attack"
    assert set(ledger.counted(outcomes)) == {"200"}
    assert len(outcomes) >= 3
